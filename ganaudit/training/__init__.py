"""Training a generator: data, networks, losses, the loop, and what is seen of it."""
