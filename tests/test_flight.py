"""Loads, flights, waiters and what they get: the values, without an engine."""

import subprocess
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response

from aswr.codec import Entry
from aswr.errors import LoadCycle, LoadTimeout
from aswr.flight import (
    Fate,
    Flight,
    How,
    Load,
    Loaded,
    Result,
    Waiter,
    copy_of,
    current_flight,
    result_for,
)
from aswr.keys import VariantKey, ViewKey
from aswr.policy import Times
from aswr.runtime import Runtime

ENTRY = Entry(value="page", stored=0.0, fresh_until=1.0, stale_until=2.0, error_until=3.0, born=1)


def flight(name: str, run: Any = None, **options: Any) -> Flight:
    """A flight in no runtime."""
    load = Load((name,), name, Times(10, load_timeout=2.5), run, False)
    runtime = cast(Runtime, options.pop("runtime", None))
    return Flight(load, load.key, 1, 0.0, 0.0, lambda: 0.0, runtime, lambda flight: None, **options)


def join(parent: Flight, *goals: Flight) -> None:
    """``parent``'s code waits for other flights."""
    for goal in goals:
        waiter = Waiter(goal.load, parent=parent)
        goal.refuse_cycle(waiter)
        goal.waiters.append(waiter)
        parent.waits_for.append(goal)


# copy_of


class Told(Exception):
    """Its arguments are not those it was made with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


class Prefixed(Exception):
    """Made anew from its arguments, it would say something else."""

    def __init__(self, text: str) -> None:
        super().__init__(f"oops: {text}")


class Uncopyable(Exception):
    def __copy__(self) -> "Uncopyable":
        raise TypeError("only one of me")


class Disguised(Exception):
    def __reduce__(self) -> Any:
        return ValueError, self.args


class Odd:
    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("cannot be compared")

    __hash__ = None  # type: ignore[assignment]


class Fickle(Exception):
    """Its copies have arguments that cannot be compared."""

    def __reduce__(self) -> Any:
        return Fickle, (Odd(),)


class Custom(Exception):
    """With attributes beside its arguments."""

    def __init__(self, text: str, *, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


FAITHFUL = [
    ValueError("no"),
    Custom("no", code=7),
    KeyError("name", 1),
    OSError(2, "No such file", "page.html"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    subprocess.CalledProcessError(1, ["ls"]),
    ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
    NotFound("no such page"),
    LoadTimeout("took too long"),
]


@pytest.mark.parametrize("error", FAITHFUL, ids=lambda error: type(error).__name__)
def test_each_waiter_gets_an_exception_of_his_own(error: Exception) -> None:
    """A copy has the type, arguments, attributes, cause, context, notes and traceback."""
    try:
        try:
            raise LookupError("the context")
        except LookupError:
            raise error from OSError("the cause")
    except type(error) as caught:
        error = caught
    error.add_note("seen at noon")
    twin = copy_of(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert (twin.args, str(twin)) == (error.args, str(error))
    assert twin.__dict__ == error.__dict__
    assert twin.__cause__ is error.__cause__ is not None
    assert twin.__context__ is error.__context__ is not None
    assert twin.__suppress_context__
    assert twin.__traceback__ is error.__traceback__ is not None
    twin.add_note("mine")
    assert error.__notes__ == ["seen at noon"]


def test_a_copy_does_not_grow_with_the_others() -> None:
    """Raising one copy in one request leaves the others as they were."""
    error = ValueError("no")
    first, second = copy_of(error), copy_of(error)
    for twin in (first, first):
        try:
            raise twin
        except ValueError:
            pass
    assert first.__traceback__ is not None
    assert error.__traceback__ is second.__traceback__ is None


def test_an_unsuppressed_context_stays_unsuppressed() -> None:
    """Where there was no ``from``, the context is still shown."""
    error = ValueError("no")
    error.__context__ = KeyError("name")
    twin = copy_of(error)
    assert twin.__context__ is error.__context__
    assert not twin.__suppress_context__


@pytest.mark.parametrize(
    "error",
    [Told(7, "no"), Prefixed("no"), Uncopyable("no"), Disguised("no"), Fickle("no")],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_that_has_no_faithful_copy_is_shared(error: Exception) -> None:
    """Better the same one for all than one that says something else."""
    assert copy_of(error) is error


def test_a_response_in_an_exception_is_copied_too() -> None:
    """`abort(response)`: what one request writes to its response, no other one sends."""
    error = HTTPException(response=Response("sorry", headers={"X-Reason": "full"}))
    twin = copy_of(error)
    assert twin.response is not error.response
    assert twin.response.data == b"sorry"
    twin.response.set_cookie("person", "Alice")
    assert twin.response.headers["X-Reason"] == "full"
    assert error.response is not None
    assert "Set-Cookie" not in error.response.headers


def test_an_uncopyable_exception_with_a_response_is_not_shared() -> None:
    """Where there is no copy, everybody but the first runs the view himself."""
    error = Uncopyable("no")
    error.response = Response("sorry")  # type: ignore[attr-defined]
    hows = [
        result_for(Loaded(error, Fate.FAILED), ENTRY, False, first).how for first in (True, False)
    ]
    assert hows == [How.FAILED, How.PASS]


@pytest.mark.parametrize("value", ["page", [1, 2]])
def test_what_is_no_exception_is_handed_out_as_it_is(value: object) -> None:
    """An answer of status 503 is immutable: everybody gets the one."""
    assert copy_of(value) is value


# result_for

ROWS: list[tuple[Fate, bool, bool, How]] = [
    # fate, stored, first, how
    (Fate.STORE, True, True, How.STORED),
    (Fate.STORE, True, False, How.COLLAPSED),
    (Fate.STORE, False, True, How.ANSWERED),
    (Fate.STORE, False, False, How.ANSWERED),
    (Fate.DROP, False, True, How.ANSWERED),
    (Fate.DROP, False, False, How.ANSWERED),
    (Fate.KEEP, False, True, How.ANSWERED),
    (Fate.KEEP, False, False, How.ANSWERED),
    (Fate.ONE, False, True, How.ANSWERED),
    (Fate.ONE, False, False, How.PASS),
    (Fate.PASS, False, True, How.PASS),
    (Fate.PASS, False, False, How.PASS),
    (Fate.FAILED, False, True, How.FAILED),
    (Fate.FAILED, False, False, How.FAILED),
]


@pytest.mark.parametrize(("fate", "stored", "first", "how"), ROWS)
def test_what_a_waiter_gets(fate: Fate, stored: bool, first: bool, how: How) -> None:
    """One row per fate and place in the queue; who must pass gets no value."""
    loaded = Loaded("page", fate, names=("host",), detail="why", status=304)
    result = result_for(loaded, ENTRY, stored, first)
    assert result.how is how
    assert result.value == (None if how is How.PASS else "page")
    assert result.entry == (ENTRY if fate is Fate.STORE else None)
    assert result.detail == ("" if fate in (Fate.STORE, Fate.FAILED) else "why")
    assert result.status == (0 if how in (How.PASS, How.FAILED) else 304)
    assert result.flight is None
    assert result.first == (first and fate is Fate.FAILED)


def test_a_failure_that_is_one_callers_own_goes_to_one() -> None:
    """A 503 that sets a cookie is given to one waiter; the others run the view themselves."""
    loaded = Loaded("sorry", Fate.FAILED, detail="Set-Cookie", alone=True)
    hows = [result_for(loaded, ENTRY, False, first).how for first in (True, False)]
    assert hows == [How.FAILED, How.PASS]


@pytest.mark.parametrize("fate", [Fate.STORE, Fate.DROP, Fate.KEEP])
def test_an_answer_for_one_person_goes_to_one(fate: Fate) -> None:
    """What sets a cookie, say, is given to one waiter, whatever becomes of it in the store."""
    loaded = Loaded("yours", fate, detail="sets a cookie", alone=True)
    first, second = (result_for(loaded, ENTRY, False, first) for first in (True, False))
    assert (first.how, first.value) == (How.ANSWERED, "yours")
    assert (second.how, second.value, second.entry) == (How.PASS, None, None)
    assert second.detail == "sets a cookie"


def test_the_rows_are_all_there_are() -> None:
    """No fate is missing from the table above."""
    assert {row[0] for row in ROWS} == set(Fate)


def test_the_first_gets_the_exception_itself() -> None:
    """The cause of a load gets its own exception, the others copies."""
    error = ValueError("no")
    results = [
        result_for(Loaded(error, Fate.FAILED), ENTRY, False, first) for first in (True, False)
    ]
    assert results[0].value is error
    assert results[1].value is not error
    assert results[1].value.args == error.args


# Waiters


def test_a_waiter_gets_one_result() -> None:
    """The first result stays; one that comes after he has left is nobody's error."""
    waiter, gone = Waiter(flight("a").load), Waiter(flight("a").load)
    waiter.resolve(Result(How.HIT, value=1))
    waiter.resolve(Result(How.HIT, value=2))
    assert waiter.future.result(0).value == 1
    assert gone.future.cancel()
    gone.resolve(Result(How.HIT, value=1))
    assert gone.future.cancelled()


def test_who_runs_the_load_himself_gets_his_result_afterwards() -> None:
    """An inline waiter is told once; his result then comes by another Future."""
    found = flight("a")
    waiter = Waiter(found.load, inline=True)
    assert waiter.run_inline(found)
    assert waiter.future.result(0) == Result(How.INLINE, flight=found)
    waiter.resolve(Result(How.STORED, value=1))
    assert waiter.after_inline is not None
    assert waiter.after_inline.result(0).value == 1


@pytest.mark.parametrize("state", ["not inline", "left", "gone"])
def test_who_is_not_there_does_not_run_the_load(state: str) -> None:
    """The load goes to an executor thread where its waiter may not run it, or has left."""
    waiter = Waiter(flight("a").load, inline=state != "not inline", gone=state == "gone")
    if state == "left":
        waiter.future.cancel()
    assert not waiter.run_inline(flight("a"))


# Flights


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), StopIteration()])
def test_an_inline_load_ends_whatever_it_raises(error: BaseException) -> None:
    """What it raises ends the Future, in a form that any Future takes."""

    def run(flight: Flight) -> Loaded:
        raise error

    found = flight("a", run, inline=Future())
    found.run_inline()
    assert found.inline is not None
    raised = found.inline.exception(0)
    if isinstance(error, StopIteration):
        assert isinstance(raised, RuntimeError)
        raised = raised.__cause__
    assert raised is error


def test_a_flights_context_is_empty_but_for_the_flight() -> None:
    """User code knows whose flight it is; nobody else does."""
    found = flight("a")
    context = found.context()
    assert context.run(current_flight.get) is found
    assert len(context) == 1
    assert current_flight.get() is None


BASE = ViewKey("app:page", "", "/page", "", "", ())


def asking(**inputs: object) -> Load:
    """A load for a caller who brings these inputs; a cookie is personal."""

    def under(names: tuple[str, ...]) -> tuple[VariantKey, str]:
        carried = [name for name in names if name == "cookie" and name in inputs]
        values = tuple(None if name == "cookie" else inputs.get(name) for name in names)
        why = f"reads {', '.join(carried)}" if carried else ""
        return VariantKey(BASE, names, values), why

    return Load(BASE, "page", Times(10), print, False, under)


def test_a_load_is_seen_by_what_is_read() -> None:
    """Where nothing is read its key is the URL's; else one of what the caller brings there."""
    load = asking(lang="de", cookie="me")
    assert load.seen_by(()) == (BASE, "")
    assert load.seen_by(("host", "lang")) == (
        VariantKey(BASE, ("host", "lang"), (None, "de")), "",
    )  # fmt: skip
    key, why = load.seen_by(("cookie",))
    assert (key, why) == (VariantKey(BASE, ("cookie",), (None,)), "reads cookie")
    assert load.seen_by(("cookie",))[0] == asking().seen_by(("cookie",))[0]


def test_a_load_under_a_variant_key_knows_its_url() -> None:
    """Seen to read nothing or something else, it lies under its URL's key or another variant's."""
    load = asking(lang="de")
    variant = replace(load, key=load.seen_by(("lang",))[0])
    assert (load.base, variant.base) == (BASE, BASE)
    assert variant.seen_by(()) == (BASE, "")
    assert variant.seen_by(("host",)) == load.seen_by(("host",))


def test_a_load_without_inputs_is_never_a_variant() -> None:
    """A memoized call has no inputs: its key is its own, whatever is said to be read."""
    load = flight("a").load
    assert load.seen_by(("lang",)) == (load.key, "") == load.seen_by(())


class Loop:
    """Stands where the loop would be: keeps what is posted."""

    def __init__(self) -> None:
        self.posted: list[Any] = []

    def post(self, function: Any, *args: Any) -> None:
        self.posted.append((function, *args))


def test_who_carries_what_was_read_is_refused() -> None:
    """From the moment of the read, not the end of the load; who differs otherwise may wait."""
    loop = Loop()
    found = flight("a", runtime=loop)
    found.note_read("lang")
    assert [found.refuses(asking(lang="de", cookie="me")), found.refuses(asking())] == ["", ""]
    found.note_read("cookie")
    assert found.names == ("lang", "cookie")
    assert found.refuses(asking(cookie="me")) == "reads cookie"
    assert found.refuses(asking(lang="en")) == ""
    assert loop.posted == [(found.on_read, found)] * 2


def test_a_release_refuses_everybody() -> None:
    """What keeps everybody from sharing is told once, the first reason stays."""
    loop = Loop()
    found = flight("a", runtime=loop)
    found.release("writes session")
    found.release("reads remote address")
    assert found.refuses(asking()) == "writes session"
    assert loop.posted == [(found.on_read, found)]


def test_a_timeout_names_the_load_and_the_limit() -> None:
    """The error of a load that outlasted its limit is a 504 that says so."""
    error = flight("report").timeout_error()
    assert "longer than 2.5 s" in str(error)
    assert error.__notes__ == ["The load: report"]
    assert error.code == 504


def test_a_cycle_is_named_along_its_path() -> None:
    """The error names the loads in the order in which they wait, and leaves out all others."""
    a, b, c, aside = (flight(name) for name in ("a", "b", "c", "aside"))
    join(a, aside, b)
    join(b, aside, c)
    with pytest.raises(LoadCycle, match="for ever: c -> a -> b -> c. Break"):
        join(c, a)
    with pytest.raises(LoadCycle, match="for ever: aside -> b -> aside. Break"):
        join(aside, b)
    with pytest.raises(LoadCycle, match="for ever: c -> c. Break"):
        join(c, c)


def test_a_diamond_is_no_cycle() -> None:
    """Many ways to one load, and even a loop of others, are no way back to oneself."""
    a, b, c, d = (flight(name) for name in "abcd")
    join(a, b, c)
    join(b, d)
    join(c, d)
    d.waits_for.append(d)
    d.waits_for.append(b)
    join(flight("e"), a, d)


def test_who_leaves_closes_no_cycle() -> None:
    """Once a flight is over, or its waiter has left, nothing waits for it."""
    a, b = flight("a"), flight("b")
    join(a, b, b)
    b.part(b.waiters[:1])
    assert a.waits_for == [b]
    waiters = b.dismiss()
    assert (len(waiters), b.waiters, a.waits_for) == (2, [], [])
    join(b, a)


def test_somebody_outside_closes_no_cycle() -> None:
    """A request is nobody's load: it may wait for anything."""
    a = flight("a")
    a.refuse_cycle(Waiter(a.load))
    a.waiters.append(Waiter(a.load))
    assert a.attended
    assert "waiters=1" in repr(a)
    assert len(a.dismiss()) == 1
    assert not a.attended
