"""How fast the method is: the paper's Table 7, images a second, and its schemes compared."""
