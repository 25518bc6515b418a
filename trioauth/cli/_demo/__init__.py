"""The demo behind ``python -m trioauth demo``: many tasks, one refresh, and what goes wrong.

A show is played on a stage: the server of `trioauth.testing` on this machine, or a person's own.

``arguments``     what the command line takes
``visit``         a person's own server: where, as whom, with which secrets, and may we
``show``          `Show`: the session, its tasks, somebody who cancels them; played to the end
``crowd``         the tasks, and what they, and an observer, count
``client``        the client that they ask with, and how often they may
``here``          the stage on this machine, and the script of what its server does wrong
``yours``         the stage at a person's own server
``mishaps``       the script for there: what can go wrong on this side of the network
``line``          the line to the token endpoint: counted, slowed, cut
``rescue``        keeps the tokens that could not be stored
``remedies``      why it can't go on, and what to do (pure)
``report``        what was seen, the promises that it tests, and how that is told (pure)
``here_report``   what can be told only by a server that keeps books (pure)
``yours_report``  what can be told without (pure)
``view``          what one sees: a live picture in a terminal, elsewhere a line each second
"""
