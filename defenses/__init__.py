"""Defenses, one file each; their base class is in harness/contracts/defense.py."""
