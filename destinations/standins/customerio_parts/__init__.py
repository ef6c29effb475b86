"""The parts of the customer.io stand-in.

records         what is kept of a person or an object
workspace       what is held, and what operations do to it
validation      what is refused of an operation
answers         the forms of answers
first_version   version 1 of the Track API
reading         what the App API gives to read
"""
