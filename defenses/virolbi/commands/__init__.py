"""The method's own commands."""
