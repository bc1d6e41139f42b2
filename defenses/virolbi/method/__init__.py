"""The method as the paper states it: the equations, levels, paths and the projection."""
