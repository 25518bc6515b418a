"""What a session tells of itself, and who listens: observers of `trioauth.events`.

``_log``            one line an event, in the log
``_journal``        what `Session.explain` remembers
``_timeline``       `trioauth.timeline` records; ``_picture`` makes rows of it, ``_svg`` draws
``_opentelemetry``  `trioauth.opentelemetry`: traces and metrics (an extra)

Imports from: the base.
"""

__all__: list[str] = []  # What is public is had from `trioauth.timeline`, `trioauth.opentelemetry`.
