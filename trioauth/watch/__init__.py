"""What a session tells of itself, and who listens: observers of `trioauth.events`.

``_log``            one line an event, in the log
``_journal``        what `Session.explain` remembers
``_request``        a request, as a program reports it
``_picture``        what a timeline shows, before it has a shape (pure)
``_svg``            draws that (pure); ``_svg_style`` says in which colours
``_timeline``       `trioauth.timeline`: records events and requests, and has them drawn
``_opentelemetry``  `trioauth.opentelemetry`: traces and metrics (an extra)

Imports from: the base.
"""

__all__: list[str] = []  # What is public is had from `trioauth.timeline`, `trioauth.opentelemetry`.
