"""prompting: a test's own prompt in place of the one that asks in the terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from trioauth.oauth.logins.prompt import Prompt


@contextmanager
def prompting(prompt: Prompt, /) -> Generator[None, None, None]:
    """Use a prompt wherever a log-in has none, as long as the block lasts.

    So a program that asks in the terminal or the notebook can be tested as it is::

        with prompting(auth_server.person()):
            await main()

    A prompt that the program itself passes is still used. Blocks may be nested: the innermost
    counts. Holds for all tasks and threads of the process.

    Args:
      prompt: Such as `AuthServer.person`.
    """
    from trioauth.oauth.logins.prompt import instead  # log-ins are imported when they are used

    instead.append(prompt)
    try:
        yield
    finally:
        instead.pop()
