"""Purges as numbers: what they concern, how numbers run, and what no bound may lose."""

import threading
from collections.abc import Callable, Hashable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aswr.keys import CallKey, VariantKey, ViewKey
from aswr.stamps import MICRO, MOST, NEVER, Marks, Purge, Stamps, names_of

LIMIT = 10.0  # seconds after which anything here is a failure
START = 1000.0
ALL = Purge(everything=True)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def stamps(time: Clock) -> Stamps:
    return Stamps(time)


def url(path: str = "/a", query: str = "") -> ViewKey:
    return ViewKey("shop:view", "", path, query, "", ())


def variant(value: object, base: ViewKey) -> VariantKey:
    return VariantKey(base, ("header Accept",), (value,))


def key(name: Hashable) -> Purge:
    return Purge(keys=(name,))


def tags(*names: str) -> Purge:
    return Purge(tags=names)


CALL = CallKey("shop:price", ("a",))


# Numbers


def test_numbers_increase(stamps: Stamps) -> None:
    """Every number is greater than those before, on all threads, and none comes twice."""
    start, drawn = threading.Barrier(4), list[list[int]]()

    def draw() -> None:
        start.wait(LIMIT)
        drawn.append([stamps.tick() for _ in range(500)])

    threads = [threading.Thread(target=draw, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert all(numbers == sorted(numbers) for numbers in drawn)
    assert len({number for numbers in drawn for number in numbers}) == 2000


def test_who_counts_while_another_does(time: Clock) -> None:
    """A thread that draws its number while another is about to gets another one."""
    inside, drawn = threading.Event(), list[int]()

    def slow() -> float:
        if not inside.is_set():
            inside.set()
            other.join(0.2)  # it has to wait for this one, so it does not end
        return time()

    stamps = Stamps(slow)

    def draw() -> None:
        inside.wait(LIMIT)
        drawn.append(stamps.tick())

    other = threading.Thread(target=draw, daemon=True)
    other.start()
    first = stamps.tick()
    other.join(LIMIT)
    assert drawn == [first + 1]


def test_numbers_are_the_time(stamps: Stamps, time: Clock) -> None:
    """A number is the time in microseconds, so that those of two processes compare."""
    assert stamps.tick() == START * MICRO
    time.now += 2.5
    assert stamps.tick() == (START + 2.5) * MICRO


def test_numbers_run_on_where_the_clock_does_not(stamps: Stamps, time: Clock) -> None:
    """A clock that stands still or is put back makes no number come again."""
    first = stamps.tick()
    assert stamps.tick() == first + 1
    time.now -= 3600
    assert stamps.tick() == first + 2
    time.now = START + 1
    assert stamps.tick() == first + MICRO


def test_numbers_are_in_the_shared_store_s_time(stamps: Stamps) -> None:
    """What this clock is off the server's is made up for."""
    stamps.offset = 5 * MICRO
    assert stamps.tick() == (START + 5) * MICRO


def test_a_number_that_was_seen_is_exceeded(stamps: Stamps) -> None:
    """After a number of another process was observed, ours come after it; an older one is none."""
    ahead = int((START + 60) * MICRO)
    stamps.observe(ahead)
    assert stamps.last == ahead
    assert stamps.tick() == ahead + 1
    stamps.observe(ahead - 5)
    assert stamps.tick() == ahead + 2


def test_a_purge_from_elsewhere_is_exceeded(stamps: Stamps) -> None:
    """What is loaded after a purge of another process was heard of is not concerned by it."""
    ahead = int((START + 60) * MICRO)
    stamps.purge(tags("news"), ahead)
    assert stamps.tick() > ahead


def test_a_forked_child_counts_on(stamps: Stamps) -> None:
    """A child is not locked for ever, knows what was purged, and gives out no number again."""
    number = stamps.purge(key("/a"))
    with stamps._lock:  # as another thread of the parent may have, at the fork
        stamps.forget()
        assert stamps.tick() > number
    assert stamps.latest(url("/a"), ()) == number


# What a purge concerns


def test_names() -> None:
    """A page is purged by its path or its URL, a call by its own key."""
    assert names_of(url("/a", "b=1")) == ("/a", ("/a", "b=1"))
    assert names_of(CALL) == (CALL,)
    assert names_of(variant(1, url("/a", "b=1"))) == ("/a", ("/a", "b=1"))


KNOWN: dict[str, tuple[Hashable, tuple[str, ...]]] = {
    "/a": (url("/a"), ()),
    "/a?b=1": (url("/a", "b=1"), ("news", "politics")),
    "/z": (url("/z"), ("weather",)),
    "call": (CALL, ("news",)),
    "/a to one": (variant("one", url("/a")), ()),
    "/a?b=1 to one": (variant("one", url("/a", "b=1")), ("news", "politics")),
    "/z to one": (variant("one", url("/z")), ("weather",)),
}


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(
    ("purge", "concerned"),
    [
        (key("/a"), {"/a", "/a?b=1"}),
        (key(("/a", "b=1")), {"/a?b=1"}),
        (key(("/a", "")), {"/a"}),
        (key(CALL), {"call"}),
        (tags("news"), {"/a?b=1", "call"}),
        (tags("sport", "weather"), {"/z"}),
        (tags(), set()),
        (ALL, {"/a", "/a?b=1", "/z", "call"}),
        (Purge(tags=("weather",), keys=(CALL, "/none")), {"/z", "call"}),
    ],
    ids=["path", "url", "plain url", "call", "tag", "tags", "nothing", "all", "several"],
)
def test_what_a_purge_concerns(
    stamps: Stamps, purge: Purge, concerned: set[str], soft: bool
) -> None:
    """A purge concerns what was born before it and bears the name, and nothing else."""
    concerned = concerned | {f"{name} to one" for name in concerned if name != "call"}
    born = stamps.tick()
    number = stamps.purge(purge._replace(soft=soft))
    later = stamps.tick()
    assert born < number < later
    marks, others = (stamps.soft, stamps.hard) if soft else (stamps.hard, stamps.soft)
    for name, (concerns, bears) in KNOWN.items():
        assert marks.latest(concerns, bears) == (number if name in concerned else 0)
        assert others.latest(concerns, bears) == 0
    assert stamps.newest == (number if concerned else 0)


def test_a_soft_purge_kills_nothing(stamps: Stamps) -> None:
    """What is only to be renewed may be served, and what loads may be stored; `newest` tells."""
    born = stamps.tick()
    number = stamps.purge(ALL._replace(soft=True))
    assert stamps.latest(CALL, ()) == 0
    assert stamps.soft.latest(CALL, ()) == number
    assert stamps.newest == number > born


def test_the_newest_purge_counts(stamps: Stamps) -> None:
    """Of several purges that concern an entry the last is what it must be younger than."""
    stamps.purge(tags("news"))
    newest = stamps.purge(key("/a"))
    assert stamps.latest(url("/a"), ("news",)) == newest
    assert stamps.latest(url("/z"), ("news",)) < newest


@pytest.mark.parametrize("purge", [tags("news"), key("/a"), ALL], ids=["tag", "key", "all"])
def test_an_older_purge_changes_nothing(stamps: Stamps, purge: Purge) -> None:
    """A purge that is heard of late does not take the place of a newer one of the same name."""
    number = stamps.purge(purge)
    assert stamps.purge(purge, number - 1000) == number - 1000
    assert stamps.latest(url("/a"), ("news",)) == number
    assert stamps.newest == number


def test_the_latest_tag(stamps: Stamps) -> None:
    """The newest purge of any tag is known, for loads that tell no tags; soft ones do not count."""
    assert stamps.hard.latest_tag == 0
    number = stamps.purge(tags("news", "weather"))
    stamps.purge(key("/a"))
    stamps.purge(Purge(tags=("sport",), soft=True))
    stamps.purge(tags("sport"), number - 1)
    assert stamps.hard.latest_tag == number


def test_purging_all_forgets_the_rest(stamps: Stamps) -> None:
    """One number stands for all the others after everything was purged, but for newer ones."""
    stamps.purge(key("/a"))
    stamps.purge(tags("news"))
    born = stamps.tick()
    newer = stamps.purge(tags("sport"), stamps.last + 1000)
    stamps.purge(ALL, newer - 500)
    assert stamps.hard.keys == {}
    assert stamps.hard.tags == {"sport": newer}
    assert stamps.latest(url("/b"), ()) == newer - 500 > born
    assert stamps.latest(url("/b"), ("sport",)) == newer


def test_a_soft_purge_of_all_forgets_no_hard_one(stamps: Stamps) -> None:
    """The two kinds are apart: what was purged for good stays so."""
    number = stamps.purge(tags("news"))
    stamps.purge(ALL._replace(soft=True))
    assert stamps.latest(CALL, ("news",)) == number


def test_a_swept_purge_is_forgotten(stamps: Stamps) -> None:
    """A purge is forgotten when its entries are swept, unless it was made again since."""
    first = stamps.purge(key("/a"))
    second = stamps.purge(key("/a"))
    stamps.prune("/a", first)
    assert stamps.latest(url("/a"), ()) == second
    stamps.prune("/a", second)
    assert stamps.latest(url("/a"), ()) == 0
    stamps.prune("/a", second)


# What was heard of elsewhere


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("purge", [tags("news"), key("/a"), ALL], ids=["tag", "key", "all"])
def test_what_is_learned_is_news_once(stamps: Stamps, purge: Purge, soft: bool) -> None:
    """A purge may be told again and again, by anybody: it is taken in once, unless it is newer."""
    purge = purge._replace(soft=soft)
    marks = stamps.soft if soft else stamps.hard
    number = stamps.tick()
    assert stamps.learn(purge, number)
    assert marks.latest(url("/a"), ("news",)) == number
    assert not stamps.learn(purge, number)
    assert not stamps.learn(purge, number - 1)
    assert stamps.learn(purge, number + 1)
    assert marks.latest(url("/a"), ("news",)) == number + 1


def test_what_a_purge_of_all_includes_is_no_news(stamps: Stamps) -> None:
    """A name's purge from before everything was purged tells nothing; a soft one is no hard one."""
    number = stamps.purge(ALL)
    assert not stamps.learn(tags("news"), number - 1)
    assert stamps.hard.tags == {}
    assert stamps.learn(Purge(tags=("news",), soft=True), number - 1)


def test_all_purges_can_be_told(stamps: Stamps) -> None:
    """Who is told all that is known here, name by name, holds the same for dead and for stale."""
    stamps.purge(Purge(everything=True))
    stamps.purge(Purge(everything=True, soft=True))
    stamps.purge(Purge(tags=("news", "sport"), keys=("/a", ("/a", "b=1"), CALL)))
    stamps.purge(Purge(tags=("news",), keys=("/z",), soft=True))
    told = stamps.all()
    assert all(len(purge.tags) + len(purge.keys) + purge.everything == 1 for purge, _ in told)
    other = Stamps(lambda: 0.0)
    for purge, number in told:
        assert other.learn(purge, number)
    for name, bears in KNOWN.values():
        assert other.hard.latest(name, bears) == stamps.hard.latest(name, bears) > 0
        assert other.soft.latest(name, bears) == stamps.soft.latest(name, bears) > 0
    assert other.last == stamps.last


names = st.sampled_from(["a", "b", "c"])
purges = st.builds(
    Purge,
    tags=st.lists(names, max_size=2).map(tuple),
    keys=st.lists(st.sampled_from(["/a", "/z", CALL]), max_size=2).map(tuple),
    everything=st.sampled_from([False, False, False, True]),
    soft=st.booleans(),
)


@given(st.lists(purges, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_purges_merge_in_any_order(made: list[Purge], random: Random) -> None:
    """However purges are told, in whatever order and how often, the same is held for purged."""
    here, there = Stamps(lambda: 0.0), Stamps(lambda: 0.0)
    told = [(purge, here.purge(purge)) for purge in made] * 2
    random.shuffle(told)
    for purge, number in told:
        there.purge(purge, number)
    for name in (url("/a"), url("/z"), url("/b"), CALL):
        for bears in ((), ("a",), ("b", "c")):
            assert here.hard.latest(name, bears) == there.hard.latest(name, bears)
            assert here.soft.latest(name, bears) == there.soft.latest(name, bears)


# Bounds


@pytest.mark.parametrize("kind", ["keys", "tags"])
def test_purges_are_bounded(stamps: Stamps, kind: str) -> None:
    """Beyond so many names the oldest quarter becomes one that concerns all: none is lost."""
    numbers = []
    for number in range(MOST + 1):
        purge = key(f"/{number}") if kind == "keys" else tags(f"tag-{number}")
        numbers.append(stamps.purge(purge))
    marks = stamps.hard
    known: dict[Hashable, int] = {**marks.keys, **marks.tags}
    assert MOST * 0.7 < len(known) < MOST * 0.8
    assert set(known.values()) == set(numbers[-len(known) :])
    assert marks.floor == numbers[-len(known) - 1]
    for number, made in enumerate(numbers):
        assert stamps.latest(url(f"/{number}"), (f"tag-{number}",)) >= made
    assert stamps.latest(url("/other"), ()) == marks.floor
    assert stamps.latest(url("/0"), ("tag-0",)) < stamps.tick()


def test_the_bound_is_on_each_kind(stamps: Stamps) -> None:
    """Too many soft purges cost renewals and no load: nothing is held for dead by them."""
    for number in range(MOST + 1):
        stamps.purge(Purge(tags=(f"tag-{number}",), soft=True))
    assert stamps.soft.floor > 0
    assert stamps.latest(url(), ("tag-0",)) == 0


class Interrupting(str):
    """A name that, when it is looked up, gives way to another thread's purge."""

    def __new__(cls, name: str, purge: Callable[[], object]) -> "Interrupting":
        self = super().__new__(cls, name)
        self.purge = purge
        return self

    purge: Callable[[], object]

    def __hash__(self) -> int:
        self.purge()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


def overflow(stamps: Stamps) -> None:
    for number in range(MOST + 1):
        stamps.purge(tags(f"tag-{number}"))


@pytest.mark.parametrize(
    "purge", [lambda stamps: stamps.purge(ALL), overflow], ids=["all", "overflow"]
)
def test_a_reader_between_two_purges(stamps: Stamps, purge: Callable[[Stamps], object]) -> None:
    """Purges that one of everything replaces while a reader looks are not missed by him."""
    born = stamps.tick()
    stamps.purge(tags("news"))
    assert stamps.latest(url(), (Interrupting("news", lambda: purge(stamps)),)) > born


@pytest.mark.parametrize("kind", ["overflow", "all"])
def test_a_reader_amid_a_purge(stamps: Stamps, kind: str) -> None:
    """While a purge of everything takes the place of others, no reader misses one of them."""
    born, looks = stamps.tick(), list[bool]()
    stamps.purge(tags("news"))

    def look() -> None:
        looks.append(stamps.latest(url(), ("news",)) > born)

    stamps.purge(tags(*(Interrupting(f"tag-{number}", look) for number in range(20))))
    added = len(looks)
    if kind == "all":
        stamps.purge(ALL)
    else:
        overflow(stamps)
    assert len(looks) >= added + 20, "nobody looked while they were dropped"
    assert all(looks)


def test_readers_take_no_lock(stamps: Stamps) -> None:
    """What was purged is read while another thread is in the midst of a purge."""
    number = stamps.purge(key("/a"))
    found = list[int]()
    with stamps._lock:
        reader = threading.Thread(
            target=lambda: found.append(stamps.latest(url("/a"), ())), daemon=True
        )
        reader.start()
        reader.join(LIMIT)
    assert found == [number]


def test_marks_begin_empty() -> None:
    """Where nothing was purged nothing is concerned."""
    assert Marks().latest(url(), ("news",)) == 0


# Doubt, and serving nothing


def test_what_was_born_before_a_doubt_is_suspect(stamps: Stamps) -> None:
    """A doubt is about what was born until then, kills nothing, and `newest` tells of it."""
    born = stamps.tick()
    stamps.distrust()
    assert born < stamps.suspect == stamps.newest < stamps.tick()
    assert stamps.latest(url(), ("news",)) == 0


def test_while_all_is_shut_nothing_lives(stamps: Stamps) -> None:
    """Whatever was born, or is yet to be, is older than what may have been purged unheard."""
    stamps.close_down(True)
    assert stamps.latest(url(), ()) == stamps.newest == NEVER
    assert stamps.tick() < NEVER
    stamps.purge(tags("news"))
    assert stamps.newest == NEVER


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("when", ["before", "while"])
@pytest.mark.parametrize("what", [tags("news"), key("/a"), ALL], ids=["tag", "key", "all"])
def test_what_was_purged_meanwhile_stays_so(
    stamps: Stamps, soft: bool, when: str, what: Purge
) -> None:
    """When all is served again, what was purged before or meanwhile is not, nor forgotten."""
    what = what._replace(soft=soft)
    born = stamps.tick()
    number = stamps.purge(what) if when == "before" else 0
    stamps.close_down(True)
    number = number or stamps.purge(what)
    stamps.close_down(False)
    marks = stamps.soft if soft else stamps.hard
    assert marks.latest(url("/a"), ("news",)) == number > born
    assert stamps.newest == number


def test_a_doubt_outlasts_a_shutdown(stamps: Stamps) -> None:
    """What was in doubt when all was shut, or came to be, is so when it is served again."""
    stamps.close_down(True)
    stamps.distrust()
    stamps.close_down(False)
    assert stamps.newest == stamps.suspect > 0
    assert stamps.latest(url(), ()) == 0


def test_opening_where_nothing_was_purged(stamps: Stamps) -> None:
    """A shutdown that ends leaves everything as it was."""
    stamps.close_down(True)
    stamps.close_down(False)
    assert (stamps.newest, stamps.shut, stamps.latest(url(), ())) == (0, False, 0)


def test_starting_anew(stamps: Stamps, time: Clock) -> None:
    """Once cleared it is as a new one: by the clock, even back in time, with nothing purged."""
    time.now += 3600
    for what in (key("/a"), tags("news"), ALL):
        stamps.purge(what)
        stamps.purge(what._replace(soft=True))
    stamps.distrust()
    stamps.close_down(True)
    time.now -= 3600
    stamps.clear()
    assert stamps.tick() == START * MICRO
    assert (stamps.newest, stamps.suspect, stamps.cut, stamps.shut) == (0, 0, 0, False)
    assert stamps.all() == []
