"""Descriptors, one kind of network a file."""
