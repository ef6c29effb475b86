"""The parts of the customer.io stand-in.

records      what is kept of a person or an object
validation   what is refused of an operation
answers      the forms of answers
workspace    what is held, and what operations do to it
reading      what the App API gives to read
"""
