"""The command line: ``python -m trioauth``.

``_command``   reads the command line
``_demo``      ``trioauth demo``: many tasks, one refresh, and what goes wrong

Imports from: the base, the session, the doors, ``_core``, ``oauth``, ``stores``,
``testing``.
"""

__all__: list[str] = []  # It is called from the command line.
