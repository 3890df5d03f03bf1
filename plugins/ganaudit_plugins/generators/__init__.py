"""Generators under audit, one way of delivery a file."""
