"""A Quart-Trio app that holds a session: hypercorn --worker-class trio quart_app:app"""

import os
from collections.abc import AsyncGenerator

from quart import ResponseReturnValue
from quart_trio import QuartTrio

import trioauth

app = QuartTrio(__name__)


@app.while_serving
async def hold_session() -> AsyncGenerator[None, None]:
    grant = trioauth.ClientCredentialsGrant(
        os.environ["TOKEN_URL"], client_id="client", client_secret=os.environ["CLIENT_SECRET"]
    )
    async with trioauth.open_session(grant, base_url=os.environ["API_URL"]) as session:
        app.extensions["trioauth"] = session
        yield


@app.get("/notes/<int:number>")
async def note(number: int) -> ResponseReturnValue:
    session: trioauth.Session = app.extensions["trioauth"]
    response = await session.get(f"/notes/{number}")
    return response.json(), response.status_code


@app.errorhandler(trioauth.RefreshUnavailableError)
async def unavailable(_: trioauth.RefreshUnavailableError) -> ResponseReturnValue:
    return {"error": "try later"}, 503, {"Retry-After": "5"}
