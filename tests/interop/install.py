"""Install what the authorization server needs, exactly as package-lock.json says.

Run as ``python tests/interop/install.py``; does nothing if it was done for this lock file already.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class NodeMissingError(Exception):
    """There is no node or no npm on the PATH."""


def find_program(name: str) -> str:
    """Return where ``node`` or ``npm`` is."""
    path = shutil.which(name)
    if path is None:
        raise NodeMissingError(f"{name} is not on the PATH; install Node.js 20.20 or newer")
    return path


def install() -> None:
    """Run ``npm ci``, unless it was run to the end for this very lock file."""
    npm = find_program("npm")
    locked = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    # `npm ci` removes the folder first, and this with it: half an installation has no stamp.
    stamp = HERE / "node_modules" / ".installed-for"
    if stamp.is_file() and stamp.read_text() == locked:
        return
    subprocess.run([npm, "ci"], cwd=HERE, check=True, stdin=subprocess.DEVNULL)
    stamp.write_text(locked)


if __name__ == "__main__":
    install()
