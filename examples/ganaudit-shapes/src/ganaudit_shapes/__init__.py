"""Two plugins of ganaudit: a generator of shapes with a collapse to find, and what finds it."""
