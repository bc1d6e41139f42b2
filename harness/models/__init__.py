"""Networks and defended models: backbones, how a model is built, where it comes from, and its checkpoint."""
