"""The core: what a session knows, decides and does about tokens. No HTTP in it.

In reading order, from the pure to what acts:

``policy``          `RefreshPolicy`: when to refresh, how often to try, how long to wait
``authentication``  `Authentication`: what is said of a response
``clock``           the one place where wall time meets trio time
``login_state``     LoggedIn, LoggedOut: what the world sees
``flight``          Login, Generation, Flight: what is held, and what is on its way
``state``           states, decisions, transitions (pure)
``retry``           when another try makes sense (pure)
``machine``         the state of a session, the one place where it changes, and who is told
``vault``           the store, as one session sees it
``records``         from generations to what the store keeps, and back
``renewal``         the flight that brings the next generation
``logins``          the flights that begin and end logins
``flights``         changes of credentials in the air: taking off, landing, closing
``timers``          what a session does without being asked
``source``          what tasks ask for a token, and wait for one
``asking``          one task asks a person to log in, the others wait
``statistics``      `Statistics`: the figures; ``explain`` is the same for a person

Imports from: the base, ``stores``, ``oauth``, ``watch``.
"""
