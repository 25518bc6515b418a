"""The session's methods have the signatures of httpx's client. Never run: mypy and pyright read it.

ty does not: to ty 0.0.107 the type of a method can't be assigned to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import httpx

    from trioauth import Session

T = TypeVar("T")


class Like(Generic[T]):
    """Takes what has the type of another: both ways round, so that the two have the same one."""

    def __init__(self, one: T) -> None: ...
    def __call__(self, other: T) -> None: ...


def signatures(session: Session, http: httpx.AsyncClient) -> None:
    Like(session.get)(http.get)
    Like(http.get)(session.get)
    Like(session.post)(http.post)
    Like(http.post)(session.post)
    Like(session.put)(http.put)
    Like(http.put)(session.put)
    Like(session.patch)(http.patch)
    Like(http.patch)(session.patch)
    Like(session.delete)(http.delete)
    Like(http.delete)(session.delete)
    Like(session.head)(http.head)
    Like(http.head)(session.head)
    Like(session.options)(http.options)
    Like(http.options)(session.options)
    Like(session.request)(http.request)
    Like(http.request)(session.request)
    Like(session.stream)(http.stream)
    Like(http.stream)(session.stream)
    Like(session.send)(http.send)
    Like(http.send)(session.send)
    Like(session.build_request)(http.build_request)
    Like(http.build_request)(session.build_request)
    Like(session.post)(session.get)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
