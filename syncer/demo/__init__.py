"""The demo: an invented company's warehouse over two nights, and the story that the commands tell about it."""
