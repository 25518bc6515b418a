"""A Starlette app that holds a session: hypercorn --worker-class trio starlette_app:app"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import trioauth


class State(TypedDict):
    session: trioauth.Session


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[State, None]:
    grant = trioauth.ClientCredentialsGrant(
        os.environ["TOKEN_URL"], client_id="client", client_secret=os.environ["CLIENT_SECRET"]
    )
    async with trioauth.open_session(grant, base_url=os.environ["API_URL"]) as session:
        yield {"session": session}


async def note(request: Request) -> JSONResponse:
    session: trioauth.Session = request.state.session
    try:
        response = await session.get(f"/notes/{request.path_params['number']}")
    except trioauth.RefreshUnavailableError:
        return JSONResponse({"error": "try later"}, 503, {"Retry-After": "5"})
    return JSONResponse(response.json(), response.status_code)


app = Starlette(routes=[Route("/notes/{number:int}", note)], lifespan=lifespan)
