"""The README tells the truth of today."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_two_commands_do_all_set_up():
    """There are two commands, and .ci/run runs the second, word for word."""
    assert len(COMMANDS) == 2
    assert COMMANDS[1].strip() in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("code", PYTHON)
def test_code_in_the_readme_is_python(code):
    """Every Python block parses, with await allowed as in an async function."""
    ast.parse("async def block():\n" + re.sub("^", "    ", code, flags=re.MULTILINE))


def test_the_first_example_works(clock):
    """The app that the README opens with runs as it stands."""

    async def slow_report(year):
        return f"report of {year}"

    names = {"__name__": "readme", "slow_report": slow_report}
    exec(PYTHON[0], names)
    client = names["app"].test_client()
    assert client.get("/report/2026").text == "report of 2026"
    assert "hit" in client.get("/report/2026").headers["Cache-Status"]
    names["manager"].close()


def test_the_admin_page_is_mounted_as_it_says(clock):
    """What the README says of the admin page runs as it stands, below its first example."""
    names = {"__name__": "readme"}
    exec(PYTHON[0], names)
    exec(next(code for code in PYTHON if "aswr.admin" in code), names)
    client = names["app"].test_client()
    assert client.get("/aswr/").status_code == 403
    with client.session_transaction() as session:
        session["role"] = "admin"
    assert client.get("/aswr/").status_code == 200
    names["manager"].close()


def test_every_example_is_listed():
    """Whatever is in the folder of examples has its row."""
    for path in (ROOT / "examples").iterdir():
        if path.name != "__pycache__":
            assert f"](examples/{path.name}" in README, path.name


def test_a_token_is_made_once():
    """Nobody is told to make a token in each terminal, which would be two of them."""
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.py")):
        assert "ASWR_ADMIN_TOKEN=$(" not in path.read_text(), path.name


@pytest.mark.parametrize("path", re.findall(r"\]\(([a-z][\w./]*)\)", README))
def test_links_into_the_repository_lead_somewhere(path):
    """Every relative link names a file that is there."""
    assert (ROOT / path).exists()
