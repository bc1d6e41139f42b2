"""Computes what figures show and records do not hold: paths of images, attributions, spectra."""
