"""The library, broken on purpose: plausible mistakes, and the test that catches each.

``python -m tests.broken`` tries them all and says what was caught.
"""
