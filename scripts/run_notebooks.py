"""Run the notebooks, and save what comes out: run_notebooks.py [--check | --fresh] [NOTEBOOK...].

With ``--check`` nothing is saved, and it is an error if a cell raises, if what is saved is not what
comes out, or if a notebook takes longer than two minutes. Times and addresses differ from run to
run: they are not compared, and where nothing else has changed the saved outputs stay as they are.
Nor are pictures compared: ``--fresh`` saves everything anew, after a change of how they look.

The kernel is of the Python that runs this script, whatever kernels are installed elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Of the tools below: which folders they look into; set before they are imported.
_SCRATCH = tempfile.TemporaryDirectory()
os.environ |= {
    "IPYTHONDIR": _SCRATCH.name,
    "JUPYTER_CONFIG_DIR": _SCRATCH.name,
    "JUPYTER_RUNTIME_DIR": _SCRATCH.name,
    "JUPYTER_PLATFORM_DIRS": "1",
}

import nbformat  # noqa: E402
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbclient.exceptions import CellExecutionError, DeadKernelError  # noqa: E402

FOLDER = Path(__file__).parent.parent / "notebooks"
LONGEST = 120
# What differs from run to run: addresses, and numbers with a fraction.
_FLEETING = re.compile(r"0x[0-9a-f]+|\d*\.\d+")


class OwnKernel(KernelSpecManager):
    """Finds one kernel: of this Python."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return it."""
        start = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f"]
        argv = [*start, "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class Manager(AsyncKernelManager):
    """Starts that kernel."""

    def __init__(self, **options: Any) -> None:
        super().__init__(kernel_spec_manager=OwnKernel(), **options)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells of a notebook; its outputs are those of this run then.

    Raises:
      CellExecutionError: A cell raised, be it a group of exceptions.
    """
    NotebookClient(
        notebook,
        kernel_manager_class=Manager,
        resources={"metadata": {"path": str(folder)}},
        timeout=LONGEST,
        record_timing=False,
        # Or how prints are cut into pieces would differ from run to run.
        coalesce_streams=True,
    ).execute()


def lasting(cell: Any) -> str:
    """Return of a cell's outputs what does not differ from run to run.

    Of one with the tag ``fleeting`` that is only of which kind they are.
    """
    kept = json.loads(json.dumps(cell.outputs))
    if "fleeting" in cell.metadata.get("tags", ()):
        return json.dumps([output["output_type"] for output in kept])
    for output in kept:
        # In a picture of what happened, everything is at a time.
        output.get("data", {}).update(
            {kind: "" for kind in output.get("data", {}) if kind == "image/svg+xml"}
        )
    return _FLEETING.sub("#", json.dumps(kept, sort_keys=True))


def differing(old: Any, new: Any) -> list[int]:
    """Say which cells have other outputs than they had, by their numbers from 1."""
    pairs = zip(old.cells, new.cells, strict=True)
    return [
        number
        for number, (before, after) in enumerate(pairs, 1)
        if before.cell_type == "code"
        and (before.execution_count != after.execution_count or lasting(before) != lasting(after))
    ]


def tidy(old: Any, new: Any, name: str, *, fresh: bool) -> None:
    """Let a notebook differ from its old self only where something has changed, unless fresh."""
    changed = range(1, len(new.cells) + 1) if fresh else differing(old, new)
    for number, (before, after) in enumerate(zip(old.cells, new.cells, strict=True), 1):
        tags = before.metadata.get("tags")
        after.id, after.metadata = f"{name}-{number}", {"tags": tags} if tags else {}
        if after.cell_type == "code" and number not in changed:
            after.outputs = before.outputs
    new.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


def run(path: Path, *, check: bool, fresh: bool) -> str | None:
    """Run one notebook; return what is wrong."""
    old = nbformat.read(path, as_version=4)
    new = nbformat.read(path, as_version=4)
    began = time.monotonic()
    try:
        execute(new, path.parent)
    except (CellExecutionError, DeadKernelError, TimeoutError) as exc:
        return f"a cell failed:\n{exc}"
    took = time.monotonic() - began
    print(f"{path.name}: {took:.1f} s")
    if took > LONGEST:
        return f"it takes {took:.0f} seconds; {LONGEST} are allowed"
    if not check:
        tidy(old, new, path.stem, fresh=fresh)
        nbformat.write(new, path)
    elif cells := differing(old, new):
        return f"what is saved is not what comes out of cells {cells}; run `make notebooks`"
    return None


def main() -> int:
    """Run the notebooks that the command line names, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true")
    how.add_argument("--fresh", action="store_true")
    parser.add_argument("notebooks", nargs="*", type=Path)
    arguments = parser.parse_args()
    failed = False
    for path in arguments.notebooks or sorted(FOLDER.glob("*.ipynb")):
        if wrong := run(path, check=arguments.check, fresh=arguments.fresh):
            print(f"{path}: {wrong}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
