"""What ``import aswr`` costs and what it loads."""

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Sequence

from .pace import times
from .rows import Outcome, Result, Row, benchmark

_IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
_LOADED = "import sys, aswr; print(*{name.partition('.')[0] for name in sys.modules})"


def fresh_python(code: str) -> str:
    """What the code prints in an interpreter of its own, which may keep what it has compiled."""
    asked = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60, env=env)
    return done.stdout


def optional() -> set[str]:
    """The modules of the distributions that aswr names in its extras."""
    extra = {
        re.split(r"[^\w.-]", line)[0].lower()
        for line in importlib.metadata.requires("aswr") or []
        if "extra ==" in line
    }
    provided = importlib.metadata.packages_distributions().items()
    return {module for module, names in provided if extra & {name.lower() for name in names}}


@benchmark(
    "import",
    Row("`import aswr`", "`import flask`", 1.5),
    Row("optional dependencies that it loads", "", 0, unit="modules"),
)
def import_time() -> Sequence[Outcome]:
    """A new interpreter each time, in turn, what it reads already in the system's memory."""
    found: dict[str, list[float]] = {"aswr": [], "flask": []}
    for number in range(16):
        for name, taken in found.items():
            seconds = float(fresh_python(_IMPORT.format(name)))
            if number:
                taken.append(seconds * 1e3)
    loaded = optional() & set(fresh_python(_LOADED).split())
    return [times(found, "aswr", "flask", "ms"), Result(len(loaded))]
