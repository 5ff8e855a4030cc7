"""The commands that look: stats, ls, show, why, jobs, top, doctor. They change nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..questions import MOST_LISTED
from ..survey import SORTS, STATES
from ..words import count, duration, headers
from . import shown
from .options import a_url, aswr, common, say
from .screen import Screen, clean
from .screen import as_json as json_text
from .source import Needs, Source, source


def fields(context: click.Context, parameter: click.Parameter, value: Any) -> dict[str, str]:
    """Header fields."""
    try:
        return headers(value)
    except ValueError as error:
        raise click.BadParameter(clean(error)) from None


def a_time(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # which is in every range
        raise click.BadParameter("nan is no number of seconds")
    return value


def an_order(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value.removeprefix("-") not in SORTS:
        raise click.BadParameter(f"{clean(value)!r} is none of {', '.join(SORTS)}")
    return value


@aswr.command(short_help="Counters, in all and by view.")
@common
def stats(screen: Screen, server: str, insecure: bool, as_json: bool) -> None:
    """Counters: hits, misses, loads, what they saved, by view; of all workers that share a store.

    In a pipe: "all" or a view, the counter, its value.
    """
    with source(server, insecure) as found:
        own = found.asked.stats()
        workers = found.asked.workers() if own["fleet"] else []
        counted = shown.totals(own, workers)
        if own["fleet"] and not workers:
            counted = {"processes": 0, "stats": {}, "views": {}}
        if as_json:
            screen.json({"app": own["app"], "at": own["at"], **counted, "workers": workers})
        elif not counted["processes"]:
            say("no server shares the store now: there is nothing that counts")
        else:
            shown.stats(screen, _who(found, own, workers), counted)


def _who(found: Source, own: Mapping[str, Any], workers: Sequence[Mapping[str, Any]]) -> str:
    if not workers:
        worker = own["worker"]
        return clean(f"{own['app']}, process {worker['pid']} on {worker['host']}")
    late = max(own["at"] - one["at"] for one in workers)
    count = "1 process" if len(workers) == 1 else f"{len(workers)} processes"
    age = f", as of up to {duration(late)} ago" if late >= 1 else ""
    return clean(f"{own['app']}, {count}{age}")


@aswr.command("ls")
@click.option("--view", default="", help="Only views whose name has this in it.")
@click.option("--tag", default="", help="Only what bears this tag.")
@click.option(
    "--state", type=click.Choice(STATES), default=None, help="Only what is in this state."
)
@click.option("--search", default="", help="Only URLs or views that have this in them.")
@click.option(
    "--sort", default="url", callback=an_order, metavar="ORDER",
    help=f"By {', '.join(SORTS)}; with - in front turned round.  [default: url]",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=1000, show_default=True,
    help="At most so many lines.",
)  # fmt: skip
@click.option("--memory", is_flag=True, help="What the server's own memory has, not the store.")
@common
def ls(
    screen: Screen, server: str, insecure: bool, as_json: bool, view: str, tag: str,
    state: str | None, search: str, sort: str, limit: int, memory: bool,
) -> None:  # fmt: skip
    """What is stored: in the store that servers share, where they do, else in a server's memory.

    In a pipe: state, seconds left in it, age, bytes, seconds its load took, uses, view, URL,
    variant, tags, id, by, cause.
    """
    wanted: dict[str, Any] = {
        "view": view, "tag": tag, "state": state or "", "search": search, "sort": sort,
        "limit": limit,
    }  # fmt: skip
    with source(server, insecure, Needs(memory=memory)) as found:
        listed = found.asked.entries(**wanted, shared=not memory and found.shared)
        if found.kind == "server" and listed.get("silent") and not listed["entries"]:
            partial = f"{listed['partial']}: this is what the server's own memory has"
            listed = {**found.asked.entries(**wanted), "partial": partial, "silent": True}
    rows, many = listed["entries"], listed["count"]
    if as_json:
        screen.json(listed)
        _say_partial(listed)
        return
    shown.entries(screen, rows) if rows else None
    _say_partial(listed)
    if not rows and not listed.get("partial"):
        say("nothing is stored" + (" that fits" if view or tag or state or search else ""))
    elif many > len(rows):
        say(f"{count(len(rows))} of {count(many)}: --limit shows more")


def _say_partial(said: Mapping[str, Any]) -> None:
    """Tell why an answer is not all; exit code 1 where the store did not answer."""
    if said.get("partial"):
        say(clean(said["partial"]))
    if said.get("silent"):
        raise click.exceptions.Exit(1)


@aswr.command(short_help="What is stored of a URL.")
@click.argument("url", callback=a_url)
@click.option(
    "--all", "everything", is_flag=True, help="Look for its variants through all of the store."
)
@common
def show(
    screen: Screen, server: str, insecure: bool, as_json: bool, url: str, everything: bool
) -> None:
    """What is stored of a URL or path: its variants, their deadlines, what happened to it.

    In a store that servers share it is looked up where it would lie, it and the variant of a plain
    request; --all finds every query and variant of it, and takes longer.

    In a pipe: an entry's id, what is said of it, the value. Exit code 1: nothing is stored, or the
    store did not answer.
    """
    with source(server, insecure) as found:
        said = found.asked.show(url, everything=everything)
    if as_json:
        screen.json(said)
    else:
        shown.show(screen, said)
    _say_partial(said)
    if not said["entries"]:
        say(f"nothing is stored of {clean(url)}; flask aswr why tells why")
        raise click.exceptions.Exit(1)
    if said.get("more"):
        say("other variants may lie in the shared store: --all looks for them")


@aswr.command(short_help="Why a URL is answered as it is.")
@click.argument("url", callback=a_url)
@click.option(
    "-H", "--header", "headers", multiple=True, callback=fields, metavar="'NAME: VALUE'",
    help="Of the request that is asked about; may be repeated.",
)  # fmt: skip
@common
def why(
    screen: Screen, server: str, insecure: bool, as_json: bool, url: str, headers: dict[str, str]
) -> None:
    """Why a URL is answered as it is, step by step, and what would make it cacheable.

    Where nothing is stored its view is run once, to find out; nothing is stored by that.
    """
    with source(server, insecure, Needs(alone=True)) as found:
        said = found.asked.why(url, headers)
    if as_json:
        screen.json({**said, "asked": found.kind})
        return
    shown.why(screen, said)
    if found.kind == "alone":
        say("asked in a process of its own: what the server's memory holds is not seen from here")


@aswr.command(short_help="The periodic refreshes.")
@common
def jobs(screen: Screen, server: str, insecure: bool, as_json: bool) -> None:
    """The periodic refreshes: how often, when next, and how they went.

    In a pipe: path, seconds between, times due, loads, when next (since the epoch), error.
    """
    with source(server, insecure) as found:
        workers = found.asked.workers() if found.asked.in_fleet else []
        each = [worker.get("jobs", []) for worker in workers]
        rows = shown.merged(each or [found.asked.jobs()])
        now = found.asked.stats()["at"]
    if as_json:
        screen.json({"jobs": rows, "at": now, "workers": len(workers)})
        return
    if not rows:
        say("no periodic refresh is scheduled: manager.schedule_periodic_refresh(path, interval)")
        return
    shown.jobs(screen, rows, now)
    if found.kind == "store" and not workers:
        say("no server shares the store now: this is what is scheduled, and nothing runs it")


@aswr.command(short_help="The cache, live.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), callback=a_time, default=1.0,
    show_default=True, help="Seconds between two looks.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(0), default=0, help="End after so many looks.")
@common
def top(
    screen: Screen, server: str, insecure: bool, as_json: bool, interval: float, count: int
) -> None:
    """The cache, live: rates by view, loads under way, the store. Ends by q or ctrl-C.

    Workers that share a store report every ten seconds, and rates are of the time between two
    reports. In a pipe, one line each interval: time, fresh hits, stale hits, misses, passes, loads
    and failed loads a second, loads under way, callers who wait, seconds of the oldest load, store.
    A server that stops answering is waited for, and said to be missed; one that never did ends it.
    """
    from .top import Top, lines, live

    with source(server, insecure) as found:
        watched = Top(found)
        if screen.terminal and not as_json:
            live(watched, screen, interval, count)
            return

        def show_line(one: Top) -> None:
            if as_json:
                screen.line(json_text(one.found(), indent=None))
            else:
                screen.fields(*one.line())

        lines(watched, show_line, say, interval, count)


@aswr.command(short_help="Is it well? With cures.")
@common
def doctor(screen: Screen, server: str, insecure: bool, as_json: bool) -> None:
    """Is it well? Configuration, store, clocks, server, versions; with cures.

    In a pipe: ok, note, warning or error, what was looked at, what was found, the cure. Exit code
    1: there are errors.
    """
    with source(server, insecure, Needs(alone=True, silent=True)) as found:
        said = found.asked.doctor()
        silent = any(line["name"] == "store" and line["state"] == "error" for line in said)
        if found.kind == "store" and not silent:  # else who shares it is not known
            said.append(_workers_line(found.asked.workers()))
    if as_json:
        screen.json(said)
    else:
        shown.doctor(screen, said)
    if any(line["state"] == "error" for line in said):
        raise click.exceptions.Exit(1)


def _workers_line(workers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    line = {"name": "workers", "state": "ok", "found": "", "cure": ""}
    if not workers:
        return {**line, "state": "note", "found": "no server shares the store now"}
    hosts = sorted({str(one.get("host", "?")) for one in workers})
    count = "1 process" if len(workers) == 1 else f"{len(workers)} processes"
    return {**line, "found": f"{count} on {', '.join(hosts)}"}
