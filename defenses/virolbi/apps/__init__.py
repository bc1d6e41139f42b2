"""The method in use: a torchvision transform, picture files, and the choice of a level."""
