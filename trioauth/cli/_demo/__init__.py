"""The demo behind ``python -m trioauth demo``: many tasks, one refresh, and what goes wrong.

``show``     `Show`: a session, many tasks, and what cancels them; from start to end
``demo``     `Demo`: the show on a server of its own
``plan``     what that server does wrong, and when
``visit``    `Visit`: the show with a person's own login, on their own servers: one refresh
``crowd``    the tasks, and what they, and an observer, count
``report``   what was counted, and the promises that it tests (pure)
``view``     what one sees: a live picture in a terminal, elsewhere a line each second
"""
