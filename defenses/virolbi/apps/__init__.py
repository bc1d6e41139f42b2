"""The method in use: transforms, pictures, and the choice of a level."""
