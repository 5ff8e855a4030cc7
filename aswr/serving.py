"""Knowing when an app begins to serve, so that jobs run without a first request.

``app.run()`` is wrapped; under ``flask run`` a thread waits until the CLI has loaded the app. Not
in a reloader's parent, which serves nothing, nor under other commands such as ``flask routes``;
under ``flask aswr`` the manager only looks on.
Other servers say it themselves: ASGI by lifespan, gunicorn by a worker hook with
``manager.start()``; the first request does in any case.
"""

import functools
import os
import weakref
from typing import Any, Protocol

import click
from flask import Flask
from flask.cli import ScriptInfo, run_command
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader

from . import runtime

LOAD_LIMIT = 60.0  # seconds that `flask run` may take to import an app
LOOKS_ON = "aswr.looks_on"  # among a click context's `meta`: this command serves nobody


class Startable(Protocol):
    """A manager."""

    def start(self) -> None: ...
    def start_unasked(self) -> None: ...
    def has_jobs(self) -> bool: ...
    def look_on(self) -> bool: ...


def start_when_served(app: Flask, manager: "weakref.ref[Any]") -> None:
    """Arrange that the manager starts when ``app.run()`` or ``flask run`` begins to serve."""
    run = app.run

    @functools.wraps(run)
    def run_and_start(*args: Any, **kwargs: Any) -> Any:
        serves = os.environ.get("FLASK_RUN_FROM_CLI") != "true"
        if serves and (is_running_from_reloader() or not _reloads(app, args, kwargs)):
            _start(manager)
        return run(*args, **kwargs)

    app.run = run_and_start  # type: ignore[method-assign]
    _await_flask_run(manager)


def _start(manager: "weakref.ref[Any]") -> None:
    found: Startable | None = manager()
    if found is not None and found.has_jobs():
        found.start()


def _start_unasked(manager: "weakref.ref[Any]") -> None:
    found: Startable | None = manager()
    if found is not None and found.has_jobs():
        found.start_unasked()


def _reloads(app: Flask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Will this ``app.run(host, port, debug, ...)`` only start a reloader's child?"""
    if "use_reloader" in kwargs:
        return bool(kwargs["use_reloader"])
    debug = kwargs.get("debug", args[2] if len(args) > 2 else None)
    if debug is not None:
        return bool(debug)
    return get_debug_flag() if "FLASK_DEBUG" in os.environ else app.debug


def _await_flask_run(manager: "weakref.ref[Any]") -> None:
    context = click.get_current_context(silent=True)
    if context is not None and context.meta.get(LOOKS_ON) and (found := manager()) is not None:
        found.look_on()
    info = context.find_object(ScriptInfo) if context is not None else None
    if context is None or info is None or context.command is not run_command:
        return
    reload = context.params.get("reload")
    reloads = get_debug_flag() if reload is None else bool(reload)
    if is_running_from_reloader() or not reloads:
        runtime.when(
            lambda: info._loaded_app is not None, lambda: _start_unasked(manager), LOAD_LIMIT
        )
