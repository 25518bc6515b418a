"""Print constraints for pip: of each package, the oldest version that pyproject.toml allows.

Of the packages that are needed at run time, extras included; tools to develop with may be new.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
# Name, extras, the lower bound; an upper bound and a marker may follow.
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,. -]+\])?\s*>=\s*([\w.]+)")


def oldest(project: dict[str, Any]) -> list[str]:
    """List the constraints for the ``project`` table of a pyproject.toml.

    Raises:
      ValueError: A requirement has no lower bound.
    """
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    found: set[str] = set()
    for requirement in sum(extras.values(), project["dependencies"]):
        if requirement.startswith(f"{project['name']}["):
            continue  # An extra that names others.
        match = _REQUIREMENT.match(requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        found.add(f"{match[1]}=={match[2]}")
    return sorted(found)


if __name__ == "__main__":
    constraints = oldest(tomllib.loads(PROJECT.read_text("utf-8"))["project"])
    sys.stdout.writelines(f"{line}\n" for line in constraints)
