"""A first login by the device flow (RFC 8628): a person types a code into a browser, anywhere."""

import contextlib
import json
from typing import Any, cast

import trio

import trioauth

CLIENT_ID = "notes"
DEVICE_URL = "https://id.example.com/device"
TOKEN_URL = "https://id.example.com/oauth/token"


async def main() -> None:
    grant = trioauth.RefreshTokenGrant(TOKEN_URL, client_id=CLIENT_ID)
    store = trioauth.FileStore("tokens.json")
    async with trioauth.open_session(
        grant, store=store, base_url="https://api.example.com"
    ) as session:
        if not session.logged_in:
            await session.log_in(human)
        response = await session.get("/me")
        print(response.status_code)


async def human(endpoint: trioauth.TokenEndpoint) -> trioauth.Tokens:
    device = await ask(endpoint, DEVICE_URL, scope="notes offline_access")
    if "error" in device:
        raise trioauth.GrantMisconfiguredError(device["error"], device.get("error_description"))
    missing = {"device_code", "user_code", "verification_uri", "expires_in"} - device.keys()
    if missing:
        raise trioauth.TokenResponseError(f"{DEVICE_URL} sent no {', '.join(sorted(missing))}")
    print(f"Go to {device['verification_uri']} and type {device['user_code']}")
    pause = device.get("interval", 5)
    with trio.fail_after(device["expires_in"]):
        while True:
            await trio.sleep(pause)
            try:
                answer = await ask(
                    endpoint,
                    TOKEN_URL,
                    grant_type="urn:ietf:params:oauth:grant-type:device_code",
                    device_code=device["device_code"],
                )
            except trioauth.RefreshUnavailableError:  # no answer: ask again, less often
                pause = min(2 * pause, 60)
                continue
            match answer.get("error"):
                case None:
                    return trioauth.Tokens.from_response(answer)
                case "authorization_pending":  # the code was not typed yet
                    pass
                case "slow_down":
                    pause += 5
                case error:
                    raise trioauth.GrantRefusedError(error, answer.get("error_description"))


async def ask(endpoint: trioauth.TokenEndpoint, url: str, **form: str) -> dict[str, Any]:
    request = trioauth.TokenRequest(url, {"client_id": CLIENT_ID, **form})
    answer = await endpoint.send(request)
    if answer.status == 429 or answer.status >= 500:
        raise trioauth.RefreshUnavailableError(f"{url} answered with status {answer.status}")
    with contextlib.suppress(ValueError):
        said: Any = json.loads(answer.body)
        if isinstance(said, dict):
            return cast("dict[str, Any]", said)
    raise trioauth.TokenResponseError(
        f"{url} answered with status {answer.status}, and not in JSON: is the URL right?"
    )


if __name__ == "__main__":
    trio.run(main)
