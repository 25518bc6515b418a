"""What a session costs, and compared with what: `python -m benchmarks`, or `make bench`.

One file a group of cases; each measures a ratio wherever it can, because a ratio
means the same on your machine.

``_measure``     sides interleaved in one process; medians and how far to trust them
``_report``      figures, their aims, the table and the JSON
``_sides``       who is compared: a fixed header (the floor), trioauth, and its peers
``_many``         those that keep many logins: `open_sessions`, and what people write themselves
``_lock``        one of them: the auth class with a lock that people paste
``_server``      an HTTP server on loopback, in a process of its own
``_chart``       charts as SVG, in light and dark
``_page``        the figures in README.md and docs/speed.md, put there from the JSON
``peers``        what each side does when something goes wrong: a table, and no figures

What the cases count, tests/test_benchmarks.py counts in small; what they time, it does not.
``check.py`` compares a run with the committed one: `python benchmarks/check.py NEW.json`.
"""

import logging

# Failures by the thousand are what some cases measure.
logging.getLogger("trioauth").addHandler(logging.NullHandler())
