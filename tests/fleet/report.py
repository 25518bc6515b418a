"""The table: one row for each store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .account import Account

_NAMES = {"file": "`FileStore`", "sqlite": "`SQLiteStore`", "redis": "`RedisStore`"}
_HEAD = (
    "store",
    "logins",
    "seconds",
    "processes",
    "SIGKILL",
    "SIGTERM",
    "SIGSTOP",
    "requests",
    "refreshes",
    "killed between rotation and save",
    "stopped longer than the lease, with the lock",
    "cut off by a deadline",
    "presented twice",
    "logins lost",
    "violations",
)


@final
@attrs.frozen
class Row:
    """One fleet, in figures."""

    cells: tuple[str, ...]
    broken: tuple[str, ...]

    @classmethod
    def of(cls, account: Account) -> Self:
        """Count."""
        why = Counter(account.must_cost.values())
        orders, broken = account.orders, account.broken
        stops = sum(count for order, count in orders.items() if order.startswith("SIGSTOP"))
        figures: tuple[object, ...] = (
            len(set(account.keys.values())),
            f"{account.seconds:g}",
            len(account.lives) - 1,
            orders.get("SIGKILL", 0),
            orders.get("SIGTERM", 0),
            stops,
            f"{account.requests:,}",
            f"{account.refreshes:,}",
            why["killed"],
            why["stopped"],
            why["cut off"],
            len(account.twice),
            len(account.lost_logins),
            len(broken),
        )
        return cls((_NAMES[account.kind], *map(str, figures)), tuple(broken))


def rows(found: Iterable[Row]) -> list[str]:
    """Return the table in Markdown, a line each."""
    lines: list[Sequence[str]] = [_HEAD, ["---", *["---:"] * (len(_HEAD) - 1)]]
    lines += [row.cells for row in found]
    return [f"| {' | '.join(cells)} |" for cells in lines]
