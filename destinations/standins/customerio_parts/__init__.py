"""The parts of the customer.io stand-in: what a record is, and what is refused of an operation."""
