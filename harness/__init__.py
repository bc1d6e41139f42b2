"""A benchmark harness for robust image classifiers, with pluggable defenses."""

__version__ = "0.1.0"
