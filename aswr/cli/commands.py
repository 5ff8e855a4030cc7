"""The commands. Each asks one source, shows the answer, and ends with an exit code.

0: all is well. 1: something failed, or was not found. 2: the command was not understood, or there
is nobody to ask. 130: ctrl-C.
"""

import functools
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..desk import MOST_LISTED, local
from ..survey import SORTS, STATES
from . import shown
from .screen import Screen, clean, number, span
from .source import Failed, Interrupted, Needs, Source, failing, source

FIELD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.1
Command = Callable[..., Any]
VAIN = Needs(loads=True, vain=" What it loads itself, nobody else would have.")


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


def fields(context: click.Context, parameter: click.Parameter, value: Any) -> dict[str, str]:
    """Header fields."""
    found = {}
    for text in value:
        name, colon, said = text.partition(":")
        if not colon or not FIELD.fullmatch(name) or any(one in said for one in "\r\n\0"):
            raise click.BadParameter(f"write 'Name: value', got {clean(text)!r}")
        found[name] = said.strip()
    return found


def an_order(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value.removeprefix("-") not in SORTS:
        raise click.BadParameter(f"{clean(value)!r} is none of {', '.join(SORTS)}")
    return value


# Looking.


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
    age = f", as of up to {span(late)} ago" if late >= 1 else ""
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
@common
def ls(
    screen: Screen, server: str, insecure: bool, as_json: bool, view: str, tag: str,
    state: str | None, search: str, sort: str, limit: int,
) -> None:  # fmt: skip
    """What is stored.

    In a pipe: state, seconds left in it, age, bytes, seconds its load took, uses, view, URL,
    variant, tags, id.
    """
    with source(server, insecure) as found:
        listed = found.asked.entries(
            view=view, tag=tag, state=state or "", search=search, sort=sort, shared=found.shared,
            limit=limit,
        )  # fmt: skip
    rows, count = listed["entries"], listed["count"]
    if as_json:
        screen.json(listed)
        return
    shown.entries(screen, rows) if rows else None
    if not rows:
        say("nothing is stored" + (" that fits" if view or tag or state or search else ""))
    elif count > len(rows):
        say(f"{number(len(rows))} of {number(count)}: --limit shows more")


@aswr.command(short_help="What is stored of a URL.")
@click.argument("url", callback=a_url)
@common
def show(screen: Screen, server: str, insecure: bool, as_json: bool, url: str) -> None:
    """What is stored of a URL or path: every variant, its deadlines, what happened to it.

    In a pipe: an entry's id, what is said of it, the value. Exit code 1: nothing is stored.
    """
    with source(server, insecure) as found:
        said = found.asked.show(url)
    if as_json:
        screen.json(said)
    else:
        shown.show(screen, said)
    if not said["entries"]:
        say(f"nothing is stored of {clean(url)}; flask aswr why tells why")
        raise click.exceptions.Exit(1)


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
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True,
    help="Seconds between two looks.",
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
    """
    from .top import Top, lines, live

    with source(server, insecure) as found:
        watched = Top(found)
        if screen.terminal and not as_json:
            live(watched, screen, interval, count)
            return

        def show_line(one: Top) -> None:
            if as_json:
                from .screen import as_json as text

                screen.line(text(one.found(), indent=None))
            else:
                screen.fields(*one.line())

        lines(watched, show_line, interval, count)


@aswr.command(short_help="Is it well? With cures.")
@common
def doctor(screen: Screen, server: str, insecure: bool, as_json: bool) -> None:
    """Is it well? Configuration, store, clocks, server, versions; with cures.

    In a pipe: ok, note, warning or error, what was looked at, what was found, the cure. Exit code
    1: there are errors.
    """
    with source(server, insecure, Needs(alone=True, silent=True)) as found:
        said = found.asked.doctor()
        if found.kind == "store":
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


# Acting.


@aswr.command(short_help="Load URLs anew.")
@click.argument("urls", nargs=-1, required=True, callback=a_url)
@common
def refresh(
    screen: Screen, server: str, insecure: bool, as_json: bool, urls: tuple[str, ...]
) -> None:
    """Load URLs anew, and their variants in use, and wait for it.

    In a pipe: what came of it, seconds, URL, reason. Exit code 1: a load failed.
    """
    results = []
    with source(server, insecure, VAIN) as found:
        for url in urls:
            results.append(failing(functools.partial(found.asked.refresh, url), url))
            if not as_json:
                shown.outcome(screen, results[-1])
        saved = _saved(found)
    if as_json:
        screen.json(results)
    if not saved or any(one["outcome"] in ("failed", "uncached") for one in results):
        raise click.exceptions.Exit(1)


def _saved(found: Source) -> bool:
    """Is what was loaded here in the store? Says so where it is not."""
    if found.kind != "store":
        return found.asked.settle()
    ended = found.asked.settle()
    counted = found.asked.stats()["stats"]
    if ended and not counted.get("unsaved", 0) and counted.get("store_reachable", 1):
        return True
    say("not everything could be saved: the store does not answer any more")
    return False


@aswr.command(short_help="Throw away URLs, tags or everything.")
@click.argument("urls", nargs=-1, callback=a_url)
@click.option("--tag", "tags", multiple=True, help="What bears this tag; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="Everything of the app.")
@click.option("--stale", is_flag=True, help="May be served all the same while it is renewed.")
@click.option("--yes", is_flag=True, help="Do not ask whether --all is meant.")
@common
def purge(
    screen: Screen, server: str, insecure: bool, as_json: bool, urls: tuple[str, ...],
    tags: tuple[str, ...], everything: bool, stale: bool, yes: bool,
) -> None:  # fmt: skip
    """Throw away URLs, what bears a tag, or everything; at once, and for all who share the store.

    A path alone means every query of it. Exit code 1: the store could not be told.
    """
    if bool(urls or tags) == everything:
        raise click.UsageError("name URLs, --tag or --all" if not everything else "--all is all")
    if "" in tags:
        raise click.UsageError("a tag has a name")
    with source(server, insecure) as found:
        if everything and not yes:
            _confirm(found)
        done = found.asked.purge(urls=urls, tags=tags, everything=everything, stale=stale)
    if as_json:
        screen.json(done)
    for one in [] if as_json else done["purged"]:
        word = "outdated" if stale else "purged"
        screen.line(f"{word} {clean(one)}") if screen.terminal else screen.fields(word, one)
    if not done["everybody"]:
        say("the shared store could not be told: other processes may still serve it")
        raise click.exceptions.Exit(1)


def _confirm(found: Source) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to ask whether --all is meant: say --yes")
    click.confirm(f"Purge everything of {clean(found.name)}?", abort=True, err=True)


@aswr.command(short_help="Load what a list or a sitemap names.")
@click.argument("urls", required=False, metavar="FILE|URL|-")
@click.option("--routes", is_flag=True, help="All cached views without arguments.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=4, show_default=True,
    help="Loads at a time.",
)  # fmt: skip
@click.option(
    "--retries", type=click.IntRange(0, 100), default=2, show_default=True,
    help="More tries for what fails, with longer and longer pauses.",
)  # fmt: skip
@click.option(
    "--failed", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write what was not warmed to this file, which warm can read.",
)  # fmt: skip
@click.option(
    "--host", "hosts", multiple=True, help="A host whose URLs are this app's; may be repeated."
)
@common
def warm(
    screen: Screen, server: str, insecure: bool, as_json: bool, urls: str | None, routes: bool,
    concurrency: int, retries: int, failed: Path | None, hosts: tuple[str, ...],
) -> None:  # fmt: skip
    """Load what is not fresh, so that nobody waits for it: URLs of a list, or of a sitemap.

    A list has a URL or path on each line; a sitemap may be compressed, or an index of others; - is
    the standard input. URLs of other hosts than the app's are skipped. The first ctrl-C begins no
    more loads, and tells what is left.

    In a pipe: what came of each, seconds, URL, reason. Exit code 1: some failed, 130: ctrl-C.
    """
    if (urls is None) != routes:
        raise click.UsageError("warm what? a file or URL, or --routes" if not routes else "either")
    from .warm import Bar, Warming, errors, gently, say_failures

    with source(server, insecure, VAIN) as found:
        paths, skipped = _paths(found, urls, hosts)
        load, bar = found.asked.load, Bar(errors())
        began = time.monotonic()
        warming = Warming(
            paths, lambda url: failing(lambda: load(url, force=False, why="warm"), url),
            concurrency=concurrency, retries=retries, bar=bar,
        )  # fmt: skip
        cut_short = saved = False
        with gently(warming.stop), bar.below_the_log():
            try:
                warming.run()
            except KeyboardInterrupt:
                warming.stop()
                cut_short = True
        if not cut_short:
            saved = _saved(found)
        took = time.monotonic() - began
        bad, left = warming.failed, warming.left
        if failed is not None:
            rest = [*(one["url"] for one in bad), *left]
            _write(failed, rest)
        if as_json:
            screen.json({
                "total": warming.total, "counts": dict(warming.counts), "seconds": took,
                "retried": warming.retried, "failed": bad, "left": left, "skipped": skipped,
                "results": warming.results, "interrupted": warming.stopping, "saved": saved,
            })  # fmt: skip
        elif not screen.terminal:
            for one in warming.results:
                shown.outcome(screen, one)
        say_failures(errors(), bad)
        _sum_up(warming, took)
        if cut_short:
            raise Interrupted
    if warming.stopping:
        raise click.exceptions.Exit(130)
    if bad or not saved:
        raise click.exceptions.Exit(1)


def _write(file: Path, rest: Sequence[str]) -> None:
    try:
        file.write_text("".join(f"{url}\n" for url in rest))
    except OSError as error:
        say(f"{clean(file)}: {error.strerror}; not warmed: {clean(' '.join(rest))}")


def _paths(
    found: Source, urls: str | None, hosts: Sequence[str]
) -> tuple[list[str], dict[str, int]]:
    if urls is None:
        paths = found.asked.routes()
        if not paths:
            say("no cached view has a route without arguments")
        return paths, {}
    from .urls import MOST_BYTES, BadList, read_all, reader

    read = reader(lambda: sys.stdin.buffer.read(MOST_BYTES + 1))
    try:
        listed = read_all(urls, read, [found.host, *hosts])
    except BadList as error:
        raise Failed(str(error)) from None
    elsewhere = dict(listed.elsewhere.most_common())
    if elsewhere:
        names = ", ".join(f"{clean(host)}: {number(n)}" for host, n in [*elsewhere.items()][:5])
        say(
            f"skipped what is of other hosts ({names}); if it is this app's, say "
            f"--host {clean(next(iter(elsewhere)))}"
        )
    if listed.wrong:
        say(f"skipped what is no URL ({number(len(listed.wrong))}): {clean(listed.wrong[0])}")
    if not listed.paths and not elsewhere and not listed.wrong:
        say(f"{clean(urls)} names nothing")
    elif not listed.paths:
        raise Failed(f"{clean(urls)} names no URL of {clean(found.host)}")
    return [*listed.paths], elsewhere


def _sum_up(warming: Any, took: float) -> None:
    counts = warming.counts
    parts = [f"{number(counts['stored'])} loaded", f"{number(counts['fresh'])} fresh already"]
    if counts["pass"]:
        parts.append(f"{number(counts['pass'])} not stored")
    if counts["uncached"]:
        first = next(one["url"] for one in warming.results if one["outcome"] == "uncached")
        parts.append(f"{number(counts['uncached'])} without a cached view ({clean(first)})")
    if bad := len(warming.failed):
        parts.append(f"{number(bad)} failed")
    if left := len(warming.left):
        parts.append(f"{number(left)} left")
    say(f"{', '.join(parts)}; of {number(warming.total)}, in {span(took)}")


def say(text: str) -> None:
    """Tell a person, beside the answer."""
    click.echo(text, err=True)
