"""What a session tells of itself, and who listens: observers of `trioauth.events`.

``_log``            one line for each event, in the log
``_journal``        what `Session.explain` remembers
``_request``        a request, as a program reports it to a timeline
``_picture``        what a timeline shows: rows and spans, without sizes and colours (pure)
``_svg``            draws a picture as SVG (pure); ``_svg_style`` has the colours
``_timeline``       `trioauth.timeline`: records events and requests, and draws them
``_opentelemetry``  `trioauth.opentelemetry`: traces and metrics (an extra)

Imports from: the base.
"""

__all__: list[str] = []  # What is public is had from `trioauth.timeline`, `trioauth.opentelemetry`.
