"""scripts/run_notebooks.py: a notebook with an error, or with other outputs, does not pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

SCRIPT = Path(__file__).parent.parent / "scripts" / "run_notebooks.py"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def write(path: Path, *cells: str) -> Path:
    notebook: Any = new_notebook(cells=[new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, str(path))  # type: ignore[no-untyped-call]
    return path


def outputs(path: Path) -> list[Any]:
    notebook: Any = nbformat.read(str(path), as_version=4)  # type: ignore[no-untyped-call]
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.slow
def test_notebooks_are_saved_and_checked(tmp_path: Path) -> None:
    # One test, because a kernel takes a second to start.
    cells = ("import time, sys; sys.executable", "print(time.perf_counter())", "object()")
    good = write(tmp_path / "good.ipynb", *cells)
    done = run(good)
    assert done.returncode == 0, done.stderr
    saved = good.read_bytes()
    # The kernel is of the Python that runs the script.
    assert outputs(good)[0][0]["data"]["text/plain"] == repr(sys.executable)

    unsaved = write(tmp_path / "unsaved.ipynb", "1 + 1")
    group = write(
        tmp_path / "group.ipynb",
        "%load_ext trioauth.notebook\nimport trio",
        "async with trio.open_nursery(): raise ValueError('in a group')",
    )
    done = run("--check", good, unsaved, group)
    assert done.returncode == 1
    wrong = [line for line in done.stderr.splitlines() if line.startswith(str(tmp_path))]
    assert [line.removeprefix(f"{tmp_path}/") for line in wrong] == [
        "unsaved.ipynb: what is saved is not what comes out of cells [1]; run `make notebooks`",
        "group.ipynb: a cell failed:",
    ]
    assert "ExceptionGroup" in done.stderr

    # Times and addresses are other ones now; that is no reason to change the file.
    assert run(good).returncode == 0
    assert good.read_bytes() == saved


def test_the_notebooks_of_the_project_have_their_outputs_and_no_errors() -> None:
    notebooks = sorted((SCRIPT.parent.parent / "notebooks").glob("*.ipynb"))
    assert len(notebooks) >= 6
    for path in notebooks:
        found = [output for cell_outputs in outputs_of_code(path) for output in cell_outputs]
        assert found, path
        assert not [output for output in found if output["output_type"] == "error"], path
        assert "canary" not in path.read_text("utf-8"), path


def outputs_of_code(path: Path) -> list[Any]:
    notebook: Any = nbformat.read(str(path), as_version=4)  # type: ignore[no-untyped-call]
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
