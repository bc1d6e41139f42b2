"""How a network is trained: the one loop, recipes, augmentation, and its observer."""
