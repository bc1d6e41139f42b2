"""Defenses, one file each; harness/contracts/defense.py says what one is."""
