"""Exhibits of the method: images along their path, and the spectrum of what smoothing removes."""
