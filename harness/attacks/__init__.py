"""Adversarial attacks, each on any module from images in [0,1] to logits."""
