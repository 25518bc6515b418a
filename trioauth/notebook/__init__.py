"""Trio in a notebook: one run behind all cells, so that a session outlives the cell that opens it.

In Jupyter, or in IPython in a terminal::

    %load_ext trioauth.notebook

From then on each cell that awaits is a task of one trio run, which lasts as long as the kernel. A
session is held in one cell, used in others, and released in the last::

    session = await hold(trioauth.open_session(grant, base_url="https://api.example.com"))
    (await session.get("/me")).json()
    await release(session)

Between the cells it goes on: what runs in its background is not stopped by the end of a cell, nor
by an interrupt, which cancels the cell and nothing else. When the kernel ends, what is still held
is left, the last first. Sessions, tokens, states and statistics show themselves as small tables.

``%autoawait trioauth.notebook.runner`` does less of the same: the cells are run, and the rest is to
be imported. Any other notebook may call ``runner(coroutine)``; IPython is not needed for that.

A map:

``_extension``  what a program calls, and what IPython calls
``_cells``      cells as tasks of one trio run, and what is held between them
``_html``       the tables that sessions, states, statistics and tokens show themselves as

Imports from: the base, the session, ``_core``.
"""

from __future__ import annotations

from ._extension import hold, load_ipython_extension, release, runner, unload_ipython_extension

__all__ = ["hold", "load_ipython_extension", "release", "runner", "unload_ipython_extension"]
