"""What Orbit's stand-in is made of."""
