"""Draw docs/states.md, a Mermaid diagram included, from the functions that change states.

    python scripts/draw_states.py          write it
    python scripts/draw_states.py --check  exit with 1 if it is stale

The diagram is not drawn from a description of the code but by running it: each
transition function is applied to a sample of each state, and what comes out is
an arrow. A transition function that is not in the table below is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trioauth import Tokens
from trioauth._core import state as machine
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parent.parent / "docs" / "states.md"

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

# What happens, the function that says what follows from it, and its arguments after the state.
TRANSITIONS: dict[str, tuple[Callable[..., State], tuple[Any, ...]]] = {
    "a flight takes off": (machine.on_take_off, (FLIGHT,)),
    "it lands with a generation": (machine.on_landing, (FLIGHT, NEWER)),
    "it lands with a setback": (machine.on_landing, (FLIGHT, SETBACK)),
    "it lands refused": (machine.on_landing, (FLIGHT, REFUSED)),
    "the generation is rejected": (machine.on_rejection, (1,)),
    "the store has a newer one": (machine.on_adoption, (NEWER,)),
    "a new refresh token comes alone": (machine.on_rotation, (NEWER,)),
    "log_in()": (machine.on_log_in, (NEWER,)),
    "log_out()": (machine.on_log_out, (LoggedOut("asked"),)),
    "the block is left": (machine.on_close, ()),
}
# These two decide, and change nothing.
DECISIONS = {machine.on_demand, machine.on_refresh}

STARTS = {
    "Vacant": "the grant needs no human",
    "LoggedOut": "it needs one",
    "Current": "tokens given, or in the store",
}

# What a token is at four moments of its life.
MOMENTS = {"fresh": 0.0, "early": 50.0, "stale": 97.0, "expired": 100.0}


def name_of(state: State) -> str:
    """Return the name that a state has in the diagram."""
    if isinstance(state, Refreshing) and state.rejected:
        return "RefreshingRejected"
    return type(state).__name__


def arrows() -> dict[tuple[str, str], list[str]]:
    """Apply each transition to each state; return what leads from where to another state."""
    found: dict[tuple[str, str], list[str]] = {}
    for before, state in STATES.items():
        for label, (transition, arguments) in TRANSITIONS.items():
            try:
                after = name_of(transition(state, *arguments))
            except AssertionError:
                continue
            if after != before:
                found.setdefault((before, after), []).append(label)
    return found


def from_anywhere(found: dict[tuple[str, str], list[str]]) -> dict[str, str]:
    """Return what leads to one state from all others that something leads out of.

    A sentence says that better than eight arrows.
    """
    ends = {
        label: [(before, after) for (before, after), labels in found.items() if label in labels]
        for label in TRANSITIONS
    }
    sources = {before for before, _ in found}
    rules = {}
    for label, places in ends.items():
        targets = {after for _, after in places}
        if len(targets) == 1 and {before for before, _ in places} | targets >= sources:
            rules[label] = targets.pop()
    return rules


def diagram() -> str:
    """Return the states, and what leads from one to another, in Mermaid's words."""
    found = arrows()
    rules = from_anywhere(found)
    lines = ["stateDiagram-v2", '    state "Refreshing, rejected" as RefreshingRejected']
    lines += [f"    [*] --> {state}: {label}" for state, label in STARTS.items()]
    for before in STATES:
        leaving = {after: labels for (start, after), labels in found.items() if start == before}
        drawn = {
            after: [label for label in labels if label not in rules]
            for after, labels in leaving.items()
        }
        # Where nothing else leads out, even what leads there from anywhere is drawn.
        if not any(drawn.values()):
            drawn = leaving
        lines += [
            f"    {before} --> {after}: {', '.join(labels)}"
            for after, labels in drawn.items()
            if labels
        ]
    return "\n".join([*lines, "    Closed --> [*]"])


def rules_in_words() -> str:
    """Return what leads somewhere from anywhere."""
    return "\n".join(
        f"- {f'`{label}`' if label.endswith(')') else label}: **{after}**"
        for label, after in from_anywhere(arrows()).items()
    )


def decisions() -> str:
    """Return a table of what on_demand decides."""
    rows = ["| state | " + " | ".join(MOMENTS) + " |", "| --- |" + " --- |" * len(MOMENTS)]
    samples = STATES | {"Current, after a setback": Current(GENERATION, Setback(OSError(), 1000.0))}
    for name, state in samples.items():
        cells = [type(machine.on_demand(state, now=now)).__name__ for now in MOMENTS.values()]
        rows.append(f"| {name} | " + " | ".join(f"`{cell}`" for cell in cells) + " |")
    return "\n".join(rows)


def page() -> str:
    """Return the whole page."""
    return f"""# States

<!-- Made by scripts/draw_states.py from the code; `make check` says when it is stale. -->

What a session can be, and what leads from one state to another (forges draw this, it is
[Mermaid](https://mermaid.js.org/syntax/stateDiagram.html); `[*]` is the start and the end):

```mermaid
{diagram()}
```

What leads to one state from every other is drawn only where nothing else leads on:

{rules_in_words()}

The states:

- **Vacant**: there are no tokens, and the grant can get some without a human.
- **LoggingIn**: it is getting them.
- **Current**: there are tokens.
- **Rejected**: there are some, and a server refused them.
- **Refreshing**: a flight is in the air. Until it lands, the tokens are used, as long as they are
  good; in **Refreshing, rejected** they are not, and every request waits.
- **LoggedOut**: the login is over.
- **Closed**: the block of `open_session` was left.

`session.state` tells two things apart: `LoggedIn` and `LoggedOut`.

What a task that needs a token is told to do, by the state and by how good the token is. `Use` and
`UseAndRefresh` go ahead at once; `Board` and `TakeOff` wait for a flight; `Setback`, `LoggedOut`
and `Closed` are errors.

{decisions()}
"""


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is stale")
    check = parser.parse_args().check
    known = {function for function, _ in TRANSITIONS.values()} | DECISIONS
    functions = {value for name, value in vars(machine).items() if name.startswith("on_")}
    if functions != known:
        names = sorted(function.__name__ for function in functions ^ known)
        sys.stderr.write(f"draw_states.py draws no arrow for {', '.join(names)}\n")
        return 1
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write(f"{PAGE.name} is stale; run: python scripts/draw_states.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
