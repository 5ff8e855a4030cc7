"""An async view that passes: on aswr's loop, and to its caller as Flask would have run it."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from flask import Flask

from aswr import CacheManager, LoadError

step = contextvars.ContextVar("step", default="none")


def here() -> str:
    """The thread's name, which tells whose loop this is."""
    return threading.current_thread().name


def passing(app: Flask, manager: CacheManager, view: Any) -> Any:
    """The view, cached, at ``/x``, where a POST passes."""
    cached = manager.cacher(timeout=20)(view)
    app.add_url_rule("/x", "x", cached, methods=["POST"])
    return cached


def awaited(app: Flask, view: Any) -> Any:
    """The view's answer to a POST, awaited on an event loop of the caller's own."""
    with app.test_request_context("/x", method="POST"):
        return asyncio.run(view())


def test_its_context_is_the_callers(app, manager):
    """Hooks see the context variables that it sets, and its sync code runs on their thread."""

    async def view():
        step.set(f"on {here()}")
        return await sync_to_async(here)()

    passing(app, manager, view)

    @app.after_request
    def after(response):
        response.headers["X-Step"] = step.get()
        return response

    response = contextvars.copy_context().run(app.test_client().post, "/x")
    assert (response.text, response.headers["X-Step"]) == (here(), "on aswr-loop")


def test_awaited_on_the_callers_own_loop_it_runs_on_aswrs(app, manager):
    """Its sync code has a thread of its own there, since the caller's runs a loop."""

    async def view():
        return f"{here()} {await sync_to_async(here)()}"

    loop, thread = awaited(app, passing(app, manager, view)).get_data(True).split()
    assert (loop, thread.rpartition("-")[0]) == ("aswr-loop", "aswr-sensitive")


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()], ids=repr)
def test_awaited_it_cannot_end_the_loop(app, manager, error):
    """What would end the loop, or look like its end, is a LoadError of the caller's."""

    async def view():
        raise error

    cached = passing(app, manager, view)
    with pytest.raises(LoadError, match=type(error).__name__):
        awaited(app, cached)
    assert manager._runtime.alive
