"""What all commands have in common: their group, whom to ask, and what words people may say.

Each command asks one source, shows the answer, and ends with an exit code. 0: all is well. 1:
something failed, or was not found. 2: the command was not understood, or there is nobody to ask.
130: ctrl-C.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from ..questions import local
from .screen import Screen, clean

Command = Callable[..., Any]

ID = re.compile(r"[0-9a-f]{32}")
CALL = re.compile(r"[\w.]+:(?!//).*\(.*\)", re.DOTALL)


@click.group("aswr", short_help="Look into the cache, and steer it.")
def aswr() -> None:
    """Look into the cache, and steer it.

    A running server answers where --server or ASWR_ADMIN_URL names the address of its admin page
    (and ASWR_ADMIN_TOKEN has the token), else the Redis that the app's servers share.

    On a terminal answers are tables; in a pipe, lines with tabs; with --json, JSON. Exit codes: 0
    all is well, 1 something failed or was not found, 2 usage, 130 ctrl-C.
    """


def common(command: Command) -> Command:
    """The options of all commands: whom to ask, and JSON."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
        click.option("--insecure", is_flag=True, help="Send the token over plain http, too."),
        click.option(
            "--server", metavar="URL", default="",
            help="Ask the server whose admin page is there  [env: ASWR_ADMIN_URL].",
        ),
    ):  # fmt: skip
        command = option(command)

    @functools.wraps(command)
    def run(**options: Any) -> Any:
        return command(screen=Screen(), **options)

    return run


def a_url(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A URL or path, or several, that a cache can have."""
    for url in value if isinstance(value, tuple) else (value,):
        try:
            local(url)
        except ValueError as error:
            raise click.BadParameter(clean(error)) from None
    return value


def names_entry(name: str) -> bool:
    """Is it an entry's id, or a call as `ls` shows it, and no URL?"""
    return bool(ID.fullmatch(name) or CALL.fullmatch(name))


def a_name(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """URLs or paths that a cache can have, ids of entries, and calls."""
    a_url(context, parameter, tuple(name for name in value if not names_entry(name)))
    return value


def say(text: str) -> None:
    """Tell a person, beside the answer."""
    click.echo(text, err=True)
