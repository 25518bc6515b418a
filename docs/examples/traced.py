"""Spans of two requests and of the refresh that they waited for, printed one a line."""

import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import trioauth
from trioauth.opentelemetry import Telemetry
from trioauth.testing import AuthServer

exporter = ConsoleSpanExporter(formatter=lambda span: f"{span.name}: {len(span.links)} links\n")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)  # before Telemetry()

server = AuthServer()


async def show(session: trioauth.Session, path: str) -> None:
    # Such as the span of a request that your own server is answering.
    with trace.get_tracer("notes").start_as_current_span(f"GET {path}"):
        await session.get(path)


async def main() -> None:
    grant = trioauth.RefreshTokenGrant(server.token_url, client_id=server.client_id)
    async with trioauth.open_session(
        grant,
        tokens=server.log_in(),
        base_url=server.url,
        transport=server.transport(),
        observers=[Telemetry(attributes={"notes.account": "work"})],
    ) as session:
        server.expire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, session, "/notes")
            nursery.start_soon(show, session, "/folders")


trio.run(main)
