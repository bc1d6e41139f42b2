"""How a gradient gets back through the smoothing."""
