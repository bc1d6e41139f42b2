"""Computes what figures show and records do not hold: attributions and spectra."""
