"""Exhibits of the method: images along their path."""
