"""The former place of `harness.models.backbones`, for code that still imports it from here."""

from harness.models.backbones import *  # noqa: F403
