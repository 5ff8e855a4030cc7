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


@pytest.mark.parametrize("path", re.findall(r"\]\(([a-z][\w./]*)\)", README))
def test_links_into_the_repository_lead_somewhere(path):
    """Every relative link names a file that is there."""
    assert (ROOT / path).exists()
