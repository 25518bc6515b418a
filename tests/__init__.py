"""The tests. What their sessions log is for pytest to show, not for the terminal."""

import logging

logging.getLogger("trioauth").addHandler(logging.NullHandler())
