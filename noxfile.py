"""All checks and tests: ``nox``. What is tested is the built wheel, not the tree."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "types", "tests", "lowest", "examples", "docs"]
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent
DIST = ROOT / "build" / "dist"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = [
    line.rpartition(" ")[2]
    for line in PROJECT["classifiers"]
    if line.startswith("Programming Language :: Python :: 3.")
]
# Where version managers keep interpreters that are not on PATH.
MANAGED = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]


def interpreter(version: str) -> str | None:
    """A Python of this version that runs; a shim of a version manager may exist and not run."""
    candidates = [shutil.which(f"python{version}") or ""]
    candidates += [
        str(path)
        for folder in MANAGED
        for path in sorted(folder.glob(f"{version}.*/bin/python{version}"), reverse=True)
    ]
    for candidate in filter(None, candidates):
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


FOUND = {version: path for version in VERSIONS if (path := interpreter(version))}
for missing in [version for version in VERSIONS if version not in FOUND]:
    print(f"nox: no Python {missing} on this machine, its tests do not run")
for found in FOUND.values():
    os.environ["PATH"] = f"{Path(found).parent}{os.pathsep}{os.environ['PATH']}"
OLDEST = VERSIONS[0]
EXAMPLES = str(ROOT / "tests" / "test_examples.py")
SERVERS = ROOT / "tests" / "servers"
MANUAL = str(ROOT / "tests" / "test_docs.py")  # the same on every Python
UNIT_ONLY = ["--ignore", EXAMPLES, "--ignore", MANUAL, "--ignore", str(SERVERS)]
# What speaks with the clients of stores. A cluster's client is good for it from redis-py 8 on.
NO_CLUSTER = ["-k", "not cluster"]
STORES = [
    str(SERVERS / f"test_{name}.py")
    for name in ("scripts", "link", "backplane", "fleet", "memcached")
]


def wheel(session: nox.Session) -> str:
    """The path of the wheel, built once per run of nox."""
    if not getattr(wheel, "built", ""):
        shutil.rmtree(DIST, ignore_errors=True)
        session.install("build")
        session.run("python", "-m", "build", "--wheel", "--outdir", str(DIST), silent=True)
        wheel.built = str(next(DIST.glob("*.whl")))  # type: ignore[attr-defined]
    return wheel.built  # type: ignore[attr-defined,no-any-return]


def run_tests(
    session: nox.Session, *arguments: str, pins: list[str] | None = None, extras: str = ""
) -> None:
    session.install(f"{wheel(session)}[test,servers{extras}]", *(pins or []))
    session.chdir(session.create_tmp())  # not the tree: `import aswr` must find the wheel
    run_pytest(session, *arguments)


def run_pytest(session: nox.Session, *arguments: str) -> None:
    session.run(
        "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), *arguments,
        env={"ASWR_TEST_INSTALLED": "1", "PYTHONDEVMODE": ""},
    )  # fmt: skip


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install("ruff==0.17.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """mypy --strict over the package, and over the public API as a user would use it."""
    session.install("mypy==2.4.1", "pytest", ".[redis,memcached,prometheus,opentelemetry]")
    session.run("mypy", "aswr", "tests/typing_api.py")


@nox.session(python=list(FOUND))
def tests(session: nox.Session) -> None:
    """The unit and property tests on every Python; real servers on the oldest."""
    everything = [str(ROOT / "tests"), "--ignore", EXAMPLES]
    only = [] if session.python == OLDEST else UNIT_ONLY
    asked = [str(ROOT / word) if (ROOT / word).exists() else word for word in session.posargs]
    # Where there is no Chromium, the tests of the admin page in a browser are skipped.
    browser = ",browser" if session.python == OLDEST and shutil.which("chromium") else ""
    run_tests(session, *(asked or [*everything, *only]), extras=browser)


@nox.session(python=OLDEST)
def lowest(session: nox.Session) -> None:
    """With the lowest releases that the package says it works with: unit tests, and stores'."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"]]
    for extra in ("compress", "redis", "memcached", "prometheus", "opentelemetry"):
        lines += extras[extra]
    lower = [line.partition(",")[0].replace(">=", "==") for line in lines]
    run_tests(session, str(ROOT / "tests"), *UNIT_ONLY, *NO_CLUSTER, pins=lower)
    run_pytest(session, *STORES, *NO_CLUSTER)


@nox.session(python=OLDEST)
def examples(session: nox.Session) -> None:
    """Every example, run as its first lines say."""
    run_tests(session, EXAMPLES)


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """The manual, from ``docs/`` to ``build/docs``; a warning, as of a dead link, is an error."""
    session.install(f"{wheel(session)}[docs]")
    sphinx(session, "html", str(ROOT / "build" / "docs"))


@nox.session(python=OLDEST)
def links(session: nox.Session) -> None:
    """Every external link of the manual, asked for: needs an open network, which CI has not."""
    session.install(f"{wheel(session)}[docs]")
    sphinx(session, "linkcheck", str(ROOT / "build" / "links"))


def sphinx(session: nox.Session, builder: str, target: str) -> None:
    # -E: read everything anew, since much of it is made of code that Sphinx does not watch.
    session.run(
        "sphinx-build", "-b", builder, "-W", "-n", "-E", "--keep-going", str(ROOT / "docs"), target
    )


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """The table of speed, with peers at their newest: ``nox -s bench -- [NAME ...] [--readme]``."""
    # Optional dependencies are there, so that loading one shows in the row "import".
    # pytest, since the Redis that is measured is started as the tests start theirs.
    session.install("--upgrade", f"{wheel(session)}[bench,servers,redis,compress]", "pytest")
    session.run("python", str(ROOT / "tests" / "benchmarks" / "bench.py"), *session.posargs)
