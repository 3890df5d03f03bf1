"""Trained networks that ship with ganaudit; examples/make_demo.py makes them."""
