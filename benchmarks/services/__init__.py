"""What the delivery benchmark needs to know of each service."""
