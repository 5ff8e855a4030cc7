"""Attacks on caches by number: bytes, renders, and what stored bytes can do.

Each drill gives the harm that it did, in a word, or nothing.
"""

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .attacked import LIMIT, Ask, Got, Subject, essence, header, opened
from .shops import MARK, PAGE, catalogue, choosy, marked, moody


@dataclass(frozen=True)
class Drill:
    """An attack by number; ``run`` gives its harm, or nothing. Not all of them hurt `Naive`."""

    group: str
    name: str
    run: Callable[[Callable[[], Subject]], str]
    hurts_naive: bool = True

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


WALK = 400  # requests that walk through all there is: three times the room
HOT = (Ask("/"), Ask("/a"), Ask("/b"))
KNOWN = (Ask("/"), header("Accept-Language", "de"), header("User-Agent", "known"))


SPLIT = b"M\r\nSet-Cookie: evil=1; A"  # as long as the mark


def many_urls(make: Callable[[], Subject]) -> str:
    """URLs without end; those that are asked for all the time must stay, and memory be bounded."""
    return _walk(make, lambda n: Ask(f"/{n}"), HOT)


def many_queries(make: Callable[[], Subject]) -> str:
    """As `many_urls`, by parameters."""
    return _walk(make, lambda n: Ask(f"/?q={n}"), HOT)


def many_agents(make: Callable[[], Subject]) -> str:
    """Values of a header without end, for one URL that has known ones."""
    return _walk(make, lambda n: header("User-Agent", f"evil/{n}"), KNOWN)


def many_pairs(make: Callable[[], Subject]) -> str:
    """Values of two headers without end, each sent twice."""

    def pair(n: int) -> Ask:
        return Ask(headers=(("User-Agent", f"evil/{n // 2}"), ("Accept-Language", f"x-{n // 2}")))

    return _walk(make, pair, KNOWN)


def _walk(make: Callable[[], Subject], ask: Callable[[int], Ask], known: tuple[Ask, ...]) -> str:
    """Ask for all of these, and now and then for what many people ask for."""
    with opened(Subject(), catalogue) as shop:
        expected = [essence(got) for got in shop.person().ask_all(known)]
    with opened(make(), catalogue) as shop:
        person = shop.person()
        for _ in range(3):
            answers = [essence(got) for got in person.ask_all(known)]
        lost = 0
        for n in range(WALK):
            person.ask(ask(n))
            if n % 20 == 0:
                shop.subject.settle()
                renders = shop.renders
                answers = [essence(got) for got in person.ask_all(known)]
                lost += shop.renders - renders
        if answers != expected:
            return "poisoned"
        if shop.subject.bytes() > LIMIT:
            return "unbounded"
        return "slow" if lost else ""


def after_a_refresh(make: Callable[[], Subject]) -> str:
    """Values that are asked for as often as the known ones, before and after these are renewed."""
    known = [header("Accept-Language", f"known-{n}") for n in range(5)]
    with opened(make(), catalogue) as shop:
        person = shop.person()
        for _ in range(5):
            person.ask_all(known)
        lost = 0
        for turn in range(2):
            for n in range(100):
                person.ask_all([header("Accept-Language", f"evil-{turn}-{n}")] * 5)
            shop.subject.settle()
            renders = shop.renders
            person.ask_all(known)
            lost += shop.renders - renders
            shop.subject.wait(50)  # into the margin
            person.ask_all(known)
            shop.subject.settle()
            person.ask_all(known)
        return "slow" if lost else ""


def _stays_shared(
    make: Callable[[], Subject],
    odd: Iterable[Ask],
    plain: tuple[Ask, ...] = (Ask("/"), Ask("/a")),
    relearns: bool = False,
) -> str:
    """After what is odd, what is plain must be shared as before, and soon if it was not yet.

    ``relearns``: what is odd adds to what the URL is known to read, which costs one load, and may
    leave no room for what nobody has read yet.
    """
    for warm in (True,) if relearns else (True, False):
        with opened(make(), moody) as shop:
            for _ in range(3 * warm):
                shop.person().ask_all(plain)
            shop.person().ask_all(odd)
            shop.subject.settle()
            for _ in range(relearns if warm else 3):
                shop.subject.wait(2.0)
                shop.person().ask_all(plain)
            renders = shop.renders
            shop.person().ask_all(plain)
            if shop.renders != renders:
                return "slow"
    return ""


def after_learning(make: Callable[[], Subject]) -> str:
    """Somebody makes a URL that is full of variants read one input more."""
    known = [header("Accept-Language", f"known-{n}") for n in range(3)]
    with opened(make(), choosy) as shop:
        person = shop.person()
        for _ in range(3):
            person.ask_all(known)
        for n in range(100):
            person.ask_all([header("Accept-Language", f"evil-{n}")] * 3)
        person.ask(Ask(headers=(("Accept-Language", "evil"), ("X-More", "1"))))
        shop.subject.settle()
        renders = shop.renders
        person.ask_all(known)
        return "slow" if shop.renders != renders else ""


def odd_urls(make: Callable[[], Subject]) -> str:
    """URLs that only odd visitors ask for look at the visitor's address; the others do not."""
    return _stays_shared(make, [Ask(f"/missing{n}") for n in range(5)])


def odd_forms(make: Callable[[], Subject]) -> str:
    """Some URLs of a view write a session; the others do not."""
    return _stays_shared(make, [Ask(f"/form{n}") for n in range(5)])


def odd_header(make: Callable[[], Subject]) -> str:
    """With a header that nobody sends, the page looks at the visitor's address."""
    return _stays_shared(make, [header("X-Debug", "1")] * 3)


def odd_names(make: Callable[[], Subject]) -> str:
    """A visitor says which header is read: he can make the URL depend on any number of them."""
    odd = [header("X-Name", f"X-Name-{n}", "/named") for n in range(200)]
    return _stays_shared(make, odd, (Ask("/named"),), relearns=True)


def odd_cookies(make: Callable[[], Subject]) -> str:
    """As `odd_names`, with cookies."""
    odd = [header("X-Name", f"name-{n}", "/query") for n in range(200)]
    return _stays_shared(make, odd, (Ask("/query"),), relearns=True)


def many_ranges(make: Callable[[], Subject]) -> str:
    """A thousand overlapping ranges, and a thousand requests of one: no more bytes, no renders."""
    with opened(make(), catalogue) as shop:
        person = shop.person()
        whole = person.ask_all([Ask("/")] * 2)[0]
        renders, held = shop.renders, shop.subject.bytes()
        ranges = ",".join("0-" for _ in range(1000))
        got = person.ask(header("Range", f"bytes={ranges}"))
        if len(got.body) > 2 * len(whole.body):
            return "amplified"
        for n in range(200):
            person.ask(header("Range", f"bytes={n}-{n}"))
        if shop.subject.bytes() > held + PAGE:
            return "unbounded"
        return "slow" if shop.renders != renders else ""


def _from_store(make: Callable[[], Subject], change: Callable[[bytes], bytes]) -> Got:
    """What an answer becomes that was changed where it is stored; 500 where it cannot be given."""
    subject = make()
    with opened(subject, marked) as shop:
        shop.person().ask(Ask("/"))
        shop.subject.settle()
        subject.corrupt(change)
        heir = subject.heir()
    with opened(heir, marked) as shop:
        try:
            return shop.person().ask(Ask("/"))
        except Exception:
            return Got(500, (), b"")


def header_in_store(make: Callable[[], Subject]) -> str:
    """Who can write to the store writes a line feed into a field."""
    got = _from_store(make, lambda data: data.replace(MARK, SPLIT))
    if any("\r" in value or "\n" in value for _, value in got.headers) or got.lines("Set-Cookie"):
        return "splits"
    return "denied" if got.status >= 400 else ""


class Bomb:
    """What runs code where it is unpickled."""

    went_off = False

    def __reduce__(self) -> Any:
        return detonate, ()


def detonate() -> str:
    """What the bomb runs."""
    Bomb.went_off = True
    return "boom"


def code_in_store(make: Callable[[], Subject]) -> str:
    """Who can write to the store puts a pickle there."""
    Bomb.went_off = False
    got = _from_store(make, lambda data: pickle.dumps(Bomb()))
    if Bomb.went_off:
        return "runs code"
    return "denied" if got.status >= 400 else ""


def garbage_in_store(make: Callable[[], Subject]) -> str:
    """Who can write to the store cuts what is there."""
    got = _from_store(make, lambda data: data[: len(data) // 2])
    return "denied" if got.status >= 400 else ""


DRILLS = (
    Drill("memory exhaustion", "URLs", many_urls),
    Drill("memory exhaustion", "parameters", many_queries, False),
    Drill("memory exhaustion", "values of a header", many_agents),
    Drill("memory exhaustion", "values of two headers, each twice", many_pairs),
    Drill(
        "cache switched off", "values of a header, as often as known ones", after_a_refresh, False
    ),
    Drill(
        "cache switched off", "one input more than what is stored has read", after_learning, False
    ),
    Drill("cache switched off", "some URLs look at the address", odd_urls, False),
    Drill("cache switched off", "some URLs write a session", odd_forms, False),
    Drill("cache switched off", "a header makes the page look at the address", odd_header, False),
    Drill("cache switched off", "names of headers", odd_names, False),
    Drill("cache switched off", "names of cookies", odd_cookies, False),
    Drill("Range and conditions", "a thousand ranges", many_ranges, False),
    Drill("stored bytes", "a field with a line feed", header_in_store),
    Drill("stored bytes", "a pickle", code_in_store),
    Drill("stored bytes", "half an answer", garbage_in_store),
)
