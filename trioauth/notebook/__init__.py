"""Trio in a notebook: one run behind all cells, so that a session outlives the cell that opens it.

In Jupyter, or in IPython in a terminal::

    %load_ext trioauth.notebook

From then on each cell that awaits is a task of one trio run, which lasts as long as the kernel. A
session is held in one cell, used in others, and released in the last::

    session = await hold(trioauth.open_session(grant, base_url="https://api.example.com"))
    (await session.get("/me")).json()
    await release(session)

The run goes on between the cells: neither the end of a cell nor an interrupt stops background
tasks. An interrupt cancels the cell and nothing else. When the kernel ends, held context managers
are left, the last one first. Sessions, tokens, states and statistics are shown as small tables.

``%autoawait trioauth.notebook.runner`` only runs the cells in trio; import `hold` and `release`
yourself. Other notebooks may call ``runner(coroutine)``, without IPython.

A map:

``_extension``  the functions that a program calls, and those that IPython calls
``_cells``      cells as tasks of one trio run, and the context managers held between them
``_html``       the tables for sessions, states, statistics and tokens

Imports from: the base, the session, ``_core``.
"""

from __future__ import annotations

from ._extension import hold, load_ipython_extension, release, runner, unload_ipython_extension

__all__ = ["hold", "load_ipython_extension", "release", "runner", "unload_ipython_extension"]
