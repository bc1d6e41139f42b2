"""The method as the paper states it: its equations, its parameters and their limits, and what a backend must do."""
