"""What the Orbit adapter is made of."""
