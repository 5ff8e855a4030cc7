"""What a run leaves in a folder: all figures as JSON, and with what releases they came about.

``pyperf.json`` has the times in the form of pyperf: ``python -m pyperf compare_to`` tells whether
two runs differ by more than their noise.
"""

import contextlib
import datetime
import importlib.metadata
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyperf

from .processes import program, redis_server
from .rows import Benchmark, Missing, Result
from .table import Outcomes

SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
RELEASES = (
    "Flask", "Werkzeug", "asgiref", "uvicorn", "uvloop", "httptools", "granian", "gunicorn",
    "Flask-Caching", "advanced-caching", "aiocache", "cashews", "cachetools", "theine", "redis",
)  # fmt: skip
SHOWN = {"redis": "redis-py"}
PROGRAMS = {"nginx": "-v", "varnishd": "-V", "wrk": "-v", "h2load": "--version"}


def releases() -> dict[str, str]:
    """The releases of what takes part, as far as it is there."""
    found = {}
    for name in RELEASES:
        try:
            found[SHOWN.get(name, name)] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, option in PROGRAMS.items():
        with contextlib.suppress(Missing):
            found[name] = _release(program(name), option)
    with contextlib.suppress(Missing):
        path = redis_server()
        found["Valkey" if "valkey" in Path(path).name else "Redis"] = _release(path, "--version")
    return found


def _release(path: str, option: str) -> str:
    done = subprocess.run([path, option], capture_output=True, text=True, check=False, timeout=10)
    said = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return said[0] if said else "?"


def machine() -> dict[str, str]:
    """What pyperf knows of the machine: interpreter, processor, system."""
    known = pyperf.Run([1.0], collect_metadata=True).get_metadata()
    wanted = ("python_version", "cpu_model_name", "cpu_count", "platform")
    return {name: str(known[name]) for name in wanted if name in known}


def about() -> str:
    """When, where and with what, in a sentence."""
    of = machine()
    cores = f"{of.get('cpu_count', '?')} x {of.get('cpu_model_name', of.get('platform', '?'))}"
    versions = ", ".join(f"{name} {version}" for name, version in releases().items())
    today = datetime.date.today().isoformat()
    return f"{today}, {cores}, Python {of.get('python_version', '?')}; {versions}."


def write_json(folder: Path, benchmarks: Mapping[str, Benchmark], outcomes: Outcomes) -> None:
    """``results.json``, all of it, and ``pyperf.json``, the times."""
    rows: list[dict[str, Any]] = []
    times: dict[str, pyperf.Benchmark] = {}
    for name, of_rows in outcomes.items():
        for row, outcome in zip(benchmarks[name].rows, of_rows, strict=True):
            known = {"name": name, "what": row.what, "against": row.against, "reach": row.reach}
            if isinstance(outcome, Missing):
                rows.append({**known, "missing": str(outcome)})
                continue
            rows.append(
                {
                    **known, "value": outcome.value, "unit": row.unit,
                    "reached": row.reached(outcome.value),
                    "figures": dict(outcome.figures), "figures_unit": outcome.unit,
                    "samples": dict(outcome.samples),
                }
            )  # fmt: skip
            if outcome.unit in SECONDS:
                _add_times(times, name, outcome)
    about_all = {"machine": machine(), "releases": releases(), "rows": rows}
    (folder / "results.json").write_text(json.dumps(about_all, indent=1, ensure_ascii=False))
    if times:
        suite = pyperf.BenchmarkSuite(list(times.values()))
        suite.dump(str(folder / "pyperf.json"), replace=True)


def _add_times(times: dict[str, pyperf.Benchmark], name: str, result: Result) -> None:
    for who, samples in result.samples.items():
        title = f"{name}: {who}"
        if title not in times and samples:
            values = [value * SECONDS[result.unit] for value in samples]
            metadata = {"name": title, "unit": "second"}
            run = pyperf.Run(values, metadata=metadata, collect_metadata=False)
            times[title] = pyperf.Benchmark([run])
