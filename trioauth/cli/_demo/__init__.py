"""The demo behind ``python -m trioauth demo``: many tasks, one refresh, and what goes wrong.

``demo``     `Demo`: a server, a session, many tasks, and what cancels them; from start to end
``plan``     what the server does wrong, and when
``crowd``    the tasks, and what they, and an observer, count
``report``   what was counted, and the promises that it tests (pure)
``view``     what one sees: a live picture in a terminal, elsewhere a line each second
"""
