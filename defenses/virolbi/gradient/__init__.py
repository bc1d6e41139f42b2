"""Surrogate gradients of the smoothing, for whoever attacks it."""
