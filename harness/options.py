"""What options of several commands have in common; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
DEFAULT_OUT = Path("runs/default")
SCHEMES = ("paper", "exact", "fast")
"""The schemes of smoothing."""
