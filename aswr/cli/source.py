"""Where a command's answers come from: a running server, the store that it shares, or nowhere.

A command line is a process of its own: the memory of the server is not in it. Asked are, in this
order, the server that is named, the app's shared store, and this process, where the app is at work
in it (as in a test). Never starts the app's periodic refreshes, nor counts as one of its workers.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import click
from flask import Flask
from flask.cli import ScriptInfo

from ..desk import Desk, desk_of
from ..events import Because
from ..manager import CacheManager
from ..serving import LOOKS_ON
from .remote import Remote, RemoteError

URL, TOKEN = "ASWR_ADMIN_URL", "ASWR_ADMIN_TOKEN"

_SERVER = f"""Either let the server answer. In the app:

    from aswr.admin import blueprint
    app.register_blueprint(blueprint(manager, authorize=lambda: False), url_prefix="/aswr")

with the same token, of 16 characters or more, where the server runs and here:

    export {TOKEN}=...
    export {URL}=http://127.0.0.1:5000/aswr
"""
NOBODY = f"""this command cannot reach the cache: it is in the memory of the app's server, and this
is another process.{{}}

{_SERVER}
Or share the cache by Redis, which servers and commands both reach (pip install 'aswr[redis]'):

    manager = CacheManager(app, cache="redis://localhost:6379")"""
UNLISTED = f"""this command cannot see what the app's servers share: their store cannot say what
is in it, nor pass on purges and counters. (refresh, warm, why and doctor do without that.)

{_SERVER}
Or share the cache by Redis in its place, which can do all that (pip install 'aswr[redis]'):

    manager = CacheManager(app, cache="redis://localhost:6379")"""
NO_MEMORY = (
    "this command has no memory to be listed: --server URL (or ASWR_ADMIN_URL) names a server that "
    "has; without --memory it lists what the servers share"
)


class Asked(Protocol):
    """Who answers: a `Desk`, here or behind a server's admin API."""

    @property
    def in_fleet(self) -> bool: ...
    def about(self) -> dict[str, Any]: ...
    def stats(self) -> dict[str, Any]: ...
    def entries(
        self, *, view: str = "", tag: str = "", state: str = "", search: str = "",
        sort: str = "url", shared: bool = False, limit: int = 1000,
    ) -> dict[str, Any]: ...  # fmt: skip
    def show(self, url: str, *, everything: bool = False) -> dict[str, Any]: ...
    def why(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]: ...
    def jobs(self) -> list[dict[str, Any]]: ...
    def flights(self) -> list[dict[str, Any]]: ...
    def workers(self) -> list[dict[str, Any]]: ...
    def routes(self) -> list[str]: ...
    def tags(self) -> list[str]: ...
    def doctor(self) -> list[dict[str, str]]: ...
    def refresh(self, url: str = "", *, id: str = "") -> dict[str, Any]: ...
    def load(self, url: str, *, force: bool, why: Because) -> dict[str, Any]: ...
    def purge(
        self, *, urls: Iterable[str] = (), tags: Iterable[str] = (), ids: Iterable[str] = (),
        everything: bool = False, stale: bool = False,
    ) -> dict[str, Any]: ...  # fmt: skip
    def settle(self, seconds: float = 60.0) -> bool: ...


class Source:
    """Who answers, and what kind of answerer that is.

    ``kind`` is "server" (its own memory), "store" (what the workers share), "here" (this process,
    in which the app is at work) or "alone" (this process, and nothing in its memory). ``host`` is
    the one whose URLs these are.
    """

    def __init__(self, asked: Asked, kind: str, name: str, host: str) -> None:
        self.asked = asked
        self.kind = kind
        self.name = name
        self.host = host

    @property
    def shared(self) -> bool:
        """Are the entries to be listed those of a store? Else those of one process's memory."""
        return self.asked.in_fleet


class Interrupted(click.exceptions.Exit):
    """Ctrl-C before there is anything to tell, or twice: nothing is waited for any more."""

    def __init__(self) -> None:
        super().__init__(130)


class Nobody(click.ClickException):
    """There is nobody to ask; exit code 2."""

    exit_code = 2


class Failed(click.ClickException):
    """Something went wrong that was no mistake of who asks; exit code 1."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Needs:
    """What a command needs of who answers it.

    ``alone``: nothing but a process of its own, be it that a store does not answer. ``loads``: a
    store that can be listed or not. ``silent``: a store, whether it answers or not. ``memory``: one
    process's own memory, and no store. ``vain``: what there is to be said to who has neither server
    nor store.
    """

    alone: bool = False
    loads: bool = False
    silent: bool = False
    memory: bool = False
    vain: str = ""


LOOKS = Needs()


@contextmanager
def source(server: str, insecure: bool, needs: Needs = LOOKS) -> Iterator[Source]:
    """Who answers a command; afterwards nothing runs here that did not before.

    Raises click's exceptions, with cures.
    """
    url = server or os.environ.get(URL, "")
    try:
        if url:
            remote = Remote(url, os.environ.get(TOKEN, ""), insecure=insecure)
            yield Source(remote, "server", remote.url, remote.host)
        else:
            with _of_this_process(needs) as found:
                yield found
    except RemoteError as error:
        raise Failed(str(error)) from None


@contextmanager
def _of_this_process(needs: Needs) -> Iterator[Source]:
    context = click.get_current_context()
    context.meta[LOOKS_ON] = True  # an app that is loaded now starts nothing
    app = context.ensure_object(ScriptInfo).load_app()
    manager = app.extensions.get("aswr")
    if not isinstance(manager, CacheManager):
        raise Nobody(
            f"the app {app.name!r} has no cache: CacheManager(app), or manager.init_app(app) in "
            "its factory"
        )
    mine = manager.look_on()
    try:
        with app.app_context():
            yield _source_of(manager, app, needs, mine)
    except (Interrupted, KeyboardInterrupt):
        if mine:
            manager.close(timeout=0)
        raise
    finally:
        if mine:
            manager.close()


def _source_of(manager: CacheManager, app: Flask, needs: Needs, mine: bool) -> Source:
    site = manager.site_of(app)
    if not site.enabled and not needs.alone:
        raise Nobody("the cache of this app is switched off: ASWR_ENABLED is False")
    desk, host = desk_of(manager, app), site.base.host
    if desk.in_fleet and needs.memory:
        raise Nobody(NO_MEMORY)
    if desk.in_fleet or (needs.loads and desk.shares):
        answers = desk.store_answers(2.0 if needs.alone or needs.silent else 5.0)
        if answers or needs.silent:
            return Source(desk, "store", "the shared store", host)
        if not needs.alone:
            raise Failed(_silent(desk))
    if not mine:
        return Source(desk, "here", "this process", host)
    if needs.alone:
        return Source(desk, "alone", "this process", host)
    raise Nobody(UNLISTED if desk.shares else NOBODY.format(needs.vain))


def _silent(desk: Desk) -> str:
    lines = [line for line in desk.doctor() if line["name"] == "store" and line["cure"]]
    return "; ".join(f"{one['found']}: {one['cure']}" for one in lines) or "the store is silent"


def failing(call: Callable[[], dict[str, Any]], url: str) -> dict[str, Any]:
    """What came of a load; also where the server gave no answer, unless asking again is vain."""
    try:
        return call()
    except RemoteError as error:
        if error.wrong:
            raise
        return {"url": url, "outcome": "failed", "reason": str(error), "seconds": 0.0}
