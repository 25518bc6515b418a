"""The core: what a session knows, decides and does about tokens. No HTTP in it.

In reading order, from the pure to what acts:

``policy``          `RefreshPolicy`: when to refresh, how often to try, how long to wait
``authentication``  `Authentication`: how a request was authenticated
``clock``           the one place where wall time meets trio time
``login_state``     LoggedIn, LoggedOut: the values of `Session.state`
``flight``          Login, Generation, Flight: a login, one set of tokens in it, a change under way
``state``           states, decisions, transitions (pure)
``retry``           when another try makes sense (pure)
``machine``         the state of a session, the one place where it changes, and the order of telling
``vault``           the store, as one session sees it
``records``         from generations to what the store keeps, and back
``renewal``         the flight that brings the next generation
``logins``          the flights that begin and end logins
``flights``         running flights: taking off, deadlines, landing, closing
``timers``          what a session does without being asked
``hints``           looks into the store when it hints that another session has saved
``source``          gives tokens to tasks, and lets them wait for a flight
``asking``          one task asks a person to log in, the others wait
``statistics``      `Statistics`: the figures
``explain``         the same in sentences, for a person

Imports from: the base, ``stores``, ``oauth``, ``watch``.
"""
