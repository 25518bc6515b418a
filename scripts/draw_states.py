"""Draw docs/states.md and its picture from the functions of trioauth._core.state.

    python scripts/draw_states.py          write it
    python scripts/draw_states.py --check  exit with 1 if it is stale

The diagram is not drawn from a description of the code but by running it: each
transition function is applied to a sample of each state, and what comes out is
an edge.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from states_svg import draw

from trioauth import Tokens
from trioauth._core.flight import Flight, Generation, Login
from trioauth._core.login_state import LoggedIn, LoggedOut
from trioauth._core.state import (
    Closed,
    Current,
    Landing,
    LoggingIn,
    Refreshing,
    Rejected,
    Setback,
    State,
    Vacant,
    on_adoption,
    on_close,
    on_demand,
    on_landing,
    on_log_in,
    on_log_out,
    on_rejection,
    on_take_off,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parent.parent / "docs" / "states.md"
PICTURE = PAGE.with_suffix(".svg")

FLIGHT: Flight[Landing] = Flight(1)
GENERATION = Generation(
    number=1,
    login=Login("sample"),
    tokens=Tokens("sample"),
    lifetime=100,
    early_at=40,
    stale_at=95,
    expires_at=100,
)
NEWER = Generation(
    number=2,
    login=GENERATION.login,
    tokens=Tokens("sample"),
    lifetime=100,
    early_at=140,
    stale_at=195,
    expires_at=200,
)
SETBACK = Setback(OSError(), retry_at=60)
REFUSED = LoggedOut("refused")

# Each state with the name it has in the diagram.
STATES: dict[str, State] = {
    "Vacant": Vacant(),
    "LoggingIn": LoggingIn(FLIGHT),
    "Current": Current(GENERATION),
    "Rejected": Rejected(GENERATION),
    "Refreshing": Refreshing(GENERATION, FLIGHT),
    "RefreshingRejected": Refreshing(GENERATION, FLIGHT, rejected=True),
    "LoggedOut": REFUSED,
    "Closed": Closed(LoggedIn(1)),
}

TRANSITIONS: dict[str, Callable[[State], State]] = {
    "a flight takes off": lambda state: on_take_off(state, FLIGHT),
    "it lands with a generation": lambda state: on_landing(state, FLIGHT, NEWER),
    "it lands with a setback": lambda state: on_landing(state, FLIGHT, SETBACK),
    "it lands refused": lambda state: on_landing(state, FLIGHT, REFUSED),
    "the generation is rejected": lambda state: on_rejection(state, 1),
    "the store has a newer one": lambda state: on_adoption(state, NEWER),
    "log_in()": lambda state: on_log_in(state, NEWER),
    "log_out()": lambda state: on_log_out(state, LoggedOut("asked")),
    "the block is left": on_close,
}

# What a token is at four moments of its life.
MOMENTS = {"fresh": 0.0, "early": 50.0, "stale": 97.0, "expired": 100.0}


def name_of(state: State) -> str:
    """Return the name that a state has in the diagram."""
    if isinstance(state, Refreshing) and state.rejected:
        return "RefreshingRejected"
    return type(state).__name__


def edges() -> dict[tuple[str, str], list[str]]:
    """Apply each transition to each state; return what leads from where to where."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, state in STATES.items():
        for label, transition in TRANSITIONS.items():
            try:
                after = transition(state)
            except AssertionError:
                continue
            if after is not state and after != state:
                found.setdefault((name, name_of(after)), []).append(label)
    return found


def picture() -> str:
    """Return the states and transitions, drawn."""
    shown: dict[tuple[str, str], list[str]] = {
        ("", "Vacant"): ["the grant needs no human"],
        ("", "LoggedOut"): ["it needs one"],
        ("", "Current"): ["tokens given, or in the store"],
    }
    # From every state to the same one: a note says it better than eight arrows.
    everywhere = {"Closed": "the block is left", "Current": "log_in()"}
    for (before, after), labels in edges().items():
        here = [label for label in labels if everywhere.get(after) != label]
        if before == "LoggedOut":
            here = labels
        if here and before != after:
            shown[before, after] = here
    shown["LoggedOut", "Closed"] = ["the block is left (from anywhere)"]
    return draw(shown)


def decisions() -> str:
    """Return a table of what on_demand decides."""
    rows = ["| state | " + " | ".join(MOMENTS) + " |", "| --- |" + " --- |" * len(MOMENTS)]
    samples = STATES | {"Current, after a setback": Current(GENERATION, Setback(OSError(), 1000.0))}
    for name, state in samples.items():
        cells = [type(on_demand(state, now=now)).__name__ for now in MOMENTS.values()]
        rows.append(f"| {name} | " + " | ".join(f"`{cell}`" for cell in cells) + " |")
    return "\n".join(rows)


def page() -> str:
    """Return the whole page."""
    return f"""# States

<!-- Made by scripts/draw_states.py from _core/state.py; `make check` says when it is stale. -->

What a session can be, and what leads from one to another. `log_in()` leads to `Current` from
anywhere, and leaving the block to `Closed`.

![The states as boxes, and what leads from one to another as arrows]({PICTURE.name})

- **Vacant**: there are no tokens, and the grant can get some without a human.
- **LoggingIn**: it is getting them.
- **Current**: there are tokens.
- **Rejected**: there are some, and a server refused them.
- **Refreshing**: a flight is in the air. Until it lands, the tokens are used, as long as they are
  good; in **Refreshing, rejected** they are not, and everybody waits.
- **LoggedOut**: the login is over.
- **Closed**: the block of `open_session` was left.

`session.state` tells two things apart: `LoggedIn` and `LoggedOut`.

What somebody who needs a token is told to do, by the state and by how good the token is. `Use` and
`UseAndRefresh` go ahead at once; `Board` and `TakeOff` wait for a flight; `Setback`, `LoggedOut`
and `Closed` are errors.

{decisions()}
"""


def main() -> int:
    """Write the page and its picture, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is stale")
    check = parser.parse_args().check
    for file, text in ((PAGE, page()), (PICTURE, picture())):
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{file.name} is stale; run: python scripts/draw_states.py\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
