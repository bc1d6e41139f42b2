"""Computes the exhibits of figures, which records do not hold: attributions and spectra."""
