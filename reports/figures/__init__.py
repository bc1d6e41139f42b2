"""Figures drawn from records and exhibits; nothing here opens a model."""
