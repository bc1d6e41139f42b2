"""What `python -m harness bench` measures: the projection (the paper's Table 7), and how fast smoothing is."""
