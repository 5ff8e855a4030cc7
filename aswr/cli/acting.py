"""The commands that act: refresh, purge, warm."""

import functools
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..words import count, duration
from . import shown
from .options import a_name, aswr, common, names_entry, say
from .screen import Screen, clean
from .source import Failed, Interrupted, Needs, Source, failing, source

if TYPE_CHECKING:
    from .warm import Warming

NOT_LOADED = ("failed", "uncached", "kept", "unknown")
VAIN = Needs(loads=True, vain=" What it loads itself, nobody else would have.")


@aswr.command(short_help="Load URLs anew.")
@click.argument("names", nargs=-1, required=True, callback=a_name, metavar="[URL|ID]...")
@common
def refresh(
    screen: Screen, server: str, insecure: bool, as_json: bool, names: tuple[str, ...]
) -> None:
    """Load URLs anew, and their variants in use, and wait for it; or single entries, by their ids.

    In a pipe: what came of it, seconds, URL, reason. Exit code 1: a load failed, or an entry is not
    there, or none that can be loaded without its caller.
    """
    results = []
    with source(server, insecure, VAIN) as found:
        for name in names:
            asked = {"id" if names_entry(name) else "url": name}
            results.append(failing(functools.partial(found.asked.refresh, **asked), name))
            if not as_json:
                shown.outcome(screen, results[-1])
        saved = _saved(found)
    if as_json:
        screen.json(results)
    _say_who_alone(found, [one for one in results if one["outcome"] == "stored"])
    if not saved or any(one["outcome"] in NOT_LOADED for one in results):
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
@click.argument("names", nargs=-1, callback=a_name, metavar="[URL|ID|CALL]...")
@click.option("--tag", "tags", multiple=True, help="What bears this tag; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="Everything of the app.")
@click.option("--stale", is_flag=True, help="May be served all the same while it is renewed.")
@click.option("--yes", is_flag=True, help="Do not ask whether --all is meant.")
@common
def purge(
    screen: Screen, server: str, insecure: bool, as_json: bool, names: tuple[str, ...],
    tags: tuple[str, ...], everything: bool, stale: bool, yes: bool,
) -> None:  # fmt: skip
    """Throw away URLs, what bears a tag, or everything; at once, and for all who share the store.

    A path alone means every query of it. One entry is named by its id, or by its call, as ls shows
    them: 'shop:price(3)'. Exit code 1: the store could not be told, the cache is switched off, or
    an entry is not there.
    """
    ids = [name for name in names if names_entry(name)]
    urls = [name for name in names if not names_entry(name)]
    if bool(names or tags) == everything:
        raise click.UsageError("name URLs, --tag or --all" if not everything else "--all is all")
    if "" in tags:
        raise click.UsageError("a tag has a name")
    with source(server, insecure) as found:
        if everything and not yes:
            _confirm(found)
        done = found.asked.purge(
            urls=urls, tags=tags, ids=ids, everything=everything, stale=stale
        )  # fmt: skip
    if as_json:
        screen.json(done)
    for one in [] if as_json else done["purged"]:
        word = "outdated" if stale else "purged"
        screen.line(f"{word} {clean(one)}") if screen.terminal else screen.fields(word, one)
    unknown = done.get("unknown", [])
    for one in unknown:
        say(f"{clean(one)}: " + ("no such entry" if one in ids else "no cached view answers it"))
    if done.get("partial"):
        say(clean(done["partial"]))
    if done.get("reason"):
        say(f"nothing was purged: {clean(done['reason'])}")
        raise click.exceptions.Exit(1)
    _say_who_alone(found, [done])
    if not done["everybody"] and not done.get("alone"):
        say("the shared store could not be told: other processes may still serve it")
        raise click.exceptions.Exit(1)
    if not set(unknown).isdisjoint(ids):
        raise click.exceptions.Exit(1)


def _say_who_alone(found: Source, answers: Iterable[Mapping[str, Any]]) -> None:
    """Where a server did it in the memory of one process, whose that is."""
    if found.kind != "server":
        return
    workers = [
        f"process {clean(worker['pid'])} on {clean(worker['host'])}"
        for one in answers
        if one.get("alone")
        for worker in one.get("workers") or [one["worker"]]
    ]
    if workers:
        say(
            f"in {' and '.join(dict.fromkeys(workers))} alone: other workers of this server, if "
            "there are any, keep their own; sharing a Redis makes one cache of all"
        )


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

    In a pipe: what came of each, seconds, URL, reason. Exit code 1: some failed, or could not be
    saved, or a sitemap of an index could not be read; 130: ctrl-C.
    """
    if (urls is None) != routes:
        raise click.UsageError("warm what? a file or URL, or --routes" if not routes else "either")
    from .warm import Bar, Warming, errors, gently, say_failures

    with source(server, insecure, VAIN) as found:
        try:
            paths, skipped, unread = _paths(found, urls, hosts)
        except KeyboardInterrupt:
            raise Interrupted from None
        load, bar = found.asked.load, Bar(errors())
        began = time.monotonic()
        warming = Warming(
            paths, lambda url: failing(lambda: load(url, force=False, why="warm"), url),
            concurrency=concurrency, retries=retries, bar=bar,
        )  # fmt: skip
        with gently(warming.stop), bar.below_the_log():
            cut_short, broken = _run(warming)
        saved = False
        try:
            saved = not cut_short and _saved(found)
        except KeyboardInterrupt:  # it is waited for no longer
            cut_short = True
        took = time.monotonic() - began
        bad, left = warming.failed, warming.left
        # Which of them are not in the store is not known.
        unsaved = [] if saved or found.kind != "store" else warming.stored
        if failed is not None:
            _write(failed, [*(one["url"] for one in bad), *left, *unsaved])
        if as_json:
            screen.json({
                "total": warming.total, "counts": dict(warming.counts), "seconds": took,
                "retried": warming.retried, "failed": bad, "left": left, "skipped": skipped,
                "results": warming.results, "interrupted": warming.stopping, "saved": saved,
                "unsaved": unsaved, "unread": unread,
            })  # fmt: skip
        elif not screen.terminal:
            for one in warming.results:
                shown.outcome(screen, one)
        say_failures(errors(), bad)
        _sum_up(warming, took)
        _say_who_alone(found, [one for one in warming.results if one["outcome"] == "stored"])
        if broken is not None:
            raise broken
        if cut_short:
            raise Interrupted
    if warming.stopping:
        raise click.exceptions.Exit(130)
    if bad or unread or not saved:
        raise click.exceptions.Exit(1)


def _run(warming: "Warming") -> tuple[bool, Exception | None]:
    """Load; was it cut short, and what has ended it, after what was done is told."""
    try:
        warming.run()
    except KeyboardInterrupt:
        warming.stop()
        return True, None
    except Exception as error:
        return False, error
    return False, None


def _write(file: Path, rest: Sequence[str]) -> None:
    try:
        file.write_text("".join(f"{url}\n" for url in rest), "utf-8", "backslashreplace")
    except OSError as error:
        say(f"{clean(file)}: {error.strerror}; not warmed: {clean(' '.join(rest))}")


def _paths(
    found: Source, urls: str | None, hosts: Sequence[str]
) -> tuple[list[str], dict[str, int], list[str]]:
    """What to load, how much is of which other hosts, and why further sitemaps were not read."""
    if urls is None:
        paths = found.asked.routes()
        if not paths:
            say("no cached view has a route without arguments")
        return paths, {}, []
    from .urls import MOST_BYTES, BadList, read_all, reader

    if urls == "-" and sys.stdin is None:
        raise Failed("the standard input is closed")
    read = reader(lambda: sys.stdin.buffer.read(MOST_BYTES + 1))
    try:
        listed = read_all(urls, read, [found.host, *hosts])
    except BadList as error:
        raise Failed(str(error)) from None
    elsewhere = dict(listed.elsewhere.most_common())
    if elsewhere:
        names = ", ".join(f"{clean(host)}: {count(n)}" for host, n in [*elsewhere.items()][:5])
        say(
            f"skipped what is of other hosts ({names}); if it is this app's, say "
            f"--host {clean(next(iter(elsewhere)))}"
        )
    if listed.wrong:
        say(f"skipped what is no URL ({count(len(listed.wrong))}): {clean(listed.wrong[0])}")
    for reason in listed.unread:
        say(f"failed: {reason}; what it names is not among these")
    if not (listed.paths or elsewhere or listed.wrong or listed.unread):
        say(f"{clean(urls)} names nothing")
    elif not listed.paths and not listed.unread:
        raise Failed(f"{clean(urls)} names no URL of {clean(found.host)}")
    return [*listed.paths], elsewhere, listed.unread


def _sum_up(warming: Any, took: float) -> None:
    counts = warming.counts
    parts = [f"{count(counts['stored'])} loaded", f"{count(counts['fresh'])} fresh already"]
    if counts["pass"]:
        parts.append(f"{count(counts['pass'])} not stored")
    if counts["uncached"]:
        first = next(one["url"] for one in warming.results if one["outcome"] == "uncached")
        parts.append(f"{count(counts['uncached'])} without a cached view ({clean(first)})")
    if bad := len(warming.failed):
        parts.append(f"{count(bad)} failed")
    if left := len(warming.left):
        parts.append(f"{count(left)} left")
    say(f"{', '.join(parts)}; of {count(warming.total)}, in {duration(took)}")
