"""An observer for OpenTelemetry: ``pip install "trioauth[opentelemetry]"``.

What it records. As traces:

``trioauth.refresh``
    A span for each refresh. It belongs to no request, so it is a root; it links to the span of
    whatever started it and of each that waited (an SDK keeps 128 links, unless told otherwise).
``trioauth.wait``
    A span in the trace of each request that waited for one, linked to the refresh: why it took
    so long. Only where there is a trace.

As metrics:

==============================  =========  ==========================================
``trioauth.refresh.duration``   ``s``      by cause, and ``error.type`` if it failed
``trioauth.wait.duration``      ``s``      by whether it was cancelled
``trioauth.wait.active_tasks``  {task}     those that wait now
``trioauth.resends``            {request}  requests sent again after a 401
``trioauth.logins``             {login}    logins that began
``trioauth.logouts``            {logout}   logins that ended, by reason
``trioauth.saves``              {save}     writes to the store; ``error.type`` if failed
``trioauth.revocations``        {request}  log-outs told to the server; ditto
==============================  =========  ==========================================

Names and units follow OpenTelemetry's semantic conventions. No attribute holds a secret.
"""

from __future__ import annotations

from .watch._opentelemetry import Telemetry

__all__ = ["Telemetry"]
