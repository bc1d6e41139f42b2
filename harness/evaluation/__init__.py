"""One run: options resolved, cells planned, images perturbed, models scored, predictions recorded."""
