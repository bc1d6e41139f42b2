"""The paper's numbers and claims, as data."""
