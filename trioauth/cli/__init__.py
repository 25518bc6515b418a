"""The command line: ``trioauth``, or ``python -m trioauth``.

``main``       reads the command line, runs a command, and turns errors into exit codes
``exits``      which exit code says what (pure)
``speaking``   stdout and stderr: who gets what (P29)
``opening``    the session that a command opens
``settings``   ``trioauth login``: its options, and the profile that they make
``provider``   ``--provider``: what is known of one, as settings
``login``      ``trioauth login``: what it does
``token``      ``trioauth token``: prints the access token
``status``     ``trioauth status``: which logins there are
``many``       ``trioauth status --store``: those of a store that holds many
``shown``      what both say of one login, in words (pure)
``logout``     ``trioauth logout``: ends one
``profiles``   ``trioauth profiles``: lists, shows and removes profiles
``_command``   ``trioauth demo``: reads its command line
``_demo``      many tasks, one refresh, and what goes wrong

Imports from: the base, the session, the doors, ``_core``, ``_profiles``, ``oauth``,
``oauth/logins``, ``stores``, ``testing``.
"""

__all__: list[str] = []  # It is called from the command line.
