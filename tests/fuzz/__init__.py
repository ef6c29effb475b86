"""Whatever stands in a file or an answer: a sentence or a value, and no traceback, no hang."""
