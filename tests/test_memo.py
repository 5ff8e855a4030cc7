"""Memoized functions."""

import asyncio
import contextvars
import dataclasses
import gc
import logging
import threading
import weakref
from decimal import Decimal

import flask
import pytest
from aiocache import SimpleMemoryCache
from flask import Flask, current_app, g, has_request_context

from aswr import CacheManager, LoadCycle, LoadTimeout


class Calls(list):
    """What a function was called with."""


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.parametrize("kind", ["async", "def"])
def test_a_call_is_computed_once(app, manager, calls, kind):
    """Awaited or called by sync, a function computes once per arguments."""
    if kind == "async":

        @manager.memoize(timeout=60)
        async def double(x, y=1):
            calls.append(x)
            return x * 2
    else:

        @manager.memoize(timeout=60)
        def double(x, y=1):
            calls.append(x)
            return x * 2

    async def main():
        return [await double(3), await double(x=3), await double(3, 1), await double(y=1, x=3)]

    assert asyncio.run(main()) == [6, 6, 6, 6]
    assert double.sync(3) == 6
    assert calls == [3]
    assert double.sync(4) == 8
    assert double.__name__ == "double"


def test_calls_of_other_types_or_functions_never_share(app, manager):
    """1, True, 1.0 and "1" are four calls; two functions of one name are two functions."""

    def make(n):
        @manager.memoize(timeout=60)
        def tell(x):
            return (n, type(x))

        return tell

    one, two = make(1), make(2)
    for value in (1, True, 1.0, "1", b"1", None):
        assert one.sync(value) == (1, type(value))
        assert two.sync(value) == (2, type(value))


@pytest.mark.parametrize("value", [None, "", 0, [], {}, False])
def test_empty_results_are_cached_like_any_other(app, manager, calls, value):
    """None and every other falsy result is a result."""

    @manager.memoize(timeout=60)
    def compute():
        calls.append(1)
        return value

    assert [compute.sync(), compute.sync()] == [value, value]
    assert len(calls) == 1


def test_what_cannot_be_keyed_names_the_argument_and_the_cure(app, manager):
    """An argument that cannot be keyed is a TypeError that names it and key=."""

    class User:
        id = 7

    @manager.memoize(timeout=60)
    def compute(user):
        return user.id

    with pytest.raises(TypeError, match=r"'user'.*key="):
        compute.sync(User())

    @manager.memoize(timeout=60, key=lambda user: user.id)
    def keyed(user):
        return object()

    assert keyed.sync(User()) is keyed.sync(User())


def test_a_key_that_is_no_key_names_the_function(app, manager):
    """What key= returns must itself be keyable; the error says whose it is."""

    @manager.memoize(timeout=60, key=lambda x: object())
    def compute(x):
        return x

    with pytest.raises(TypeError, match=r"compute: key= returned a object"):
        compute.sync(1)


def test_results_are_held_by_reference_unless_copied(app, manager):
    """As in lru_cache the stored object itself is handed out; copy=True hands out copies."""

    @manager.memoize(timeout=60)
    def shared():
        return [1]

    @manager.memoize(timeout=60, copy=True)
    def copied():
        return [1]

    assert shared.sync() is shared.sync()
    for _ in range(3):  # of a load, and of hits
        copied.sync().append(2)
        asyncio.run(copied()).append(2)
    assert copied.sync() == [1]
    assert asyncio.run(copied()) == [1]


def test_a_computation_is_in_an_app_context_and_in_no_request(app, manager):
    """current_app works, request raises, g and context variables are the computation's own."""
    tenant = contextvars.ContextVar("tenant", default="none")

    @manager.memoize(timeout=60)
    async def look():
        return (current_app.name, has_request_context(), g.get("user"), tenant.get())

    with app.test_request_context("/"):
        g.user = "ann"
        tenant.set("acme")
        assert look.sync() == ("shop", False, None, "none")


def test_teardown_runs_once_per_computation(app, manager):
    """Database sessions that teardown_appcontext closes are closed after each computation."""
    closed = []
    app.teardown_appcontext(lambda error: closed.append(error))

    @manager.memoize(timeout=60)
    def sync():
        return 1

    @manager.memoize(timeout=60)
    async def asynchronous():
        return 1

    sync.sync()
    asynchronous.sync()
    assert closed == [None, None]


def test_verbs(app, manager, calls):
    """peek shows, refresh recomputes, invalidate forgets one call; so do the twins."""

    @manager.memoize(timeout=60)
    def compute(x):
        calls.append(x)
        return len(calls)

    assert compute.peek(1) is None
    assert compute.sync(1) == 1
    assert compute.peek(1).value == 1
    assert compute.refresh(1) == 2
    assert compute.sync(1) == 2
    compute.sync(5)
    compute.invalidate(1)
    assert compute.peek(1) is None
    assert compute.peek(5) is not None

    async def main():
        assert await compute.arefresh(1) == 4
        await compute.ainvalidate(1)
        assert compute.peek(1) is None

    asyncio.run(main())


def test_stale_results_are_served_while_one_load_renews_them(app, manager, clock, calls):
    """In the margin a call returns the old result at once."""

    @manager.memoize(timeout=20, refresh_margin=10)
    def compute():
        calls.append(1)
        return len(calls)

    assert compute.sync() == 1
    clock.tick(11)
    assert compute.sync() == 1
    assert manager.join(5)
    assert compute.sync() == 2


def test_errors_reach_each_caller_and_are_not_stored(app, manager, calls):
    """A failed computation is raised, and the next call tries again."""

    @manager.memoize(timeout=20)
    def compute():
        calls.append(1)
        raise KeyError(len(calls))

    for number in (1, 2):
        with pytest.raises(KeyError) as caught:
            compute.sync()
        assert caught.value.args == (number,)


def test_stale_if_error_stands_in(app, manager, clock, calls):
    """Past the timeout the failing caller gets the older result that stale_if_error covers."""

    @manager.memoize(timeout=20, stale_if_error=100)
    async def compute():
        calls.append(1)
        if len(calls) > 1:
            raise KeyError
        return "good"

    assert compute.sync() == "good"
    clock.tick(50)
    assert compute.sync() == "good"
    clock.tick(100)
    with pytest.raises(KeyError):
        compute.sync()


def test_store_if_and_tags(app, manager, calls):
    """store_if= false is not stored; tags may be made of the result."""

    @manager.memoize(timeout=20, store_if=bool, tags=lambda value: [f"n:{value}"])
    def compute(x):
        calls.append(x)
        return x

    assert [compute.sync(0), compute.sync(0), compute.sync(1), compute.sync(1)] == [0, 0, 1, 1]
    assert calls == [0, 0, 1]
    manager.invalidate_tags("n:1")
    assert compute.peek(1) is None


def test_nested_calls_run_inline_on_the_compute_thread(clock, calls):
    """A chain of nested sync computations needs one executor thread, not one for each."""
    app = Flask("shop")
    app.config["ASWR_WORKERS"] = 1
    manager = CacheManager(app, clock=clock)

    @manager.memoize(timeout=60)
    def down(n):
        calls.append(threading.current_thread().name)
        return n + (down.sync(n - 1) if n else 0)

    assert down.sync(8) == 36
    assert len(calls) == 9
    assert len(set(calls)) == 1
    assert down.peek(3).value == 6
    manager.close()


def test_an_inline_computation_sees_nothing_of_the_one_around_it(app, manager):
    """Run on the same thread or not, each computation has an empty context (invariant 11)."""
    tenant = contextvars.ContextVar("tenant", default="none")

    @manager.memoize(timeout=60)
    def inner():
        return tenant.get(), g.get("user")

    @manager.memoize(timeout=60)
    def outer():
        tenant.set("acme")
        g.user = "ann"
        return inner.sync()

    assert outer.sync() == ("none", None)


def test_nested_async_calls(app, manager):
    """An async computation may await others, and itself with other arguments."""

    @manager.memoize(timeout=60)
    async def down(n):
        return n + (await down(n - 1) if n else 0)

    assert down.sync(20) == 210


@pytest.mark.parametrize("kind", ["async", "def"])
def test_a_cycle_is_refused_and_named(app, manager, kind):
    """Loads that would wait for each other for ever are refused, with the cycle in the text."""
    if kind == "async":

        @manager.memoize(timeout=60)
        async def ping():
            return await pong()

        @manager.memoize(timeout=60)
        async def pong():
            return await ping()
    else:

        @manager.memoize(timeout=60)
        def ping():
            return pong.sync()

        @manager.memoize(timeout=60)
        def pong():
            return ping.sync()

    with pytest.raises(LoadCycle, match=r"ping -> .*pong -> .*ping|pong -> .*ping -> .*pong"):
        ping.sync()


def test_a_blocking_call_on_aswrs_loop_names_the_async_form(app, manager):
    """fn.sync on aswr's own loop raises with the form to use; a hit there is fine."""

    @manager.memoize(timeout=60)
    def inner():
        return 1

    @manager.memoize(timeout=60)
    async def outer():
        with pytest.raises(RuntimeError, match="await .*inner"):
            inner.sync()
        await inner()
        return inner.sync()

    assert outer.sync() == 1


def test_it_works_inside_a_view(app, manager, calls):
    """A memoized function called in a cached view knows nothing of that view's request."""

    @manager.memoize(timeout=60)
    async def slow(x):
        calls.append(has_request_context())
        return x

    @app.route("/<int:x>")
    @manager.cacher(timeout=1)
    async def view(x):
        return str(await slow(x))

    @app.route("/plain/<int:x>")
    def plain(x):
        return str(slow.sync(x))

    client = app.test_client()
    assert [client.get(url).text for url in ("/1", "/plain/1", "/2")] == ["1", "1", "2"]
    assert calls == [False, False]


def test_load_timeout(app, manager):
    """A computation past load_timeout is cancelled and raises LoadTimeout."""

    @manager.memoize(timeout=20, load_timeout=0.05)
    async def compute():
        await asyncio.Event().wait()

    with pytest.raises(LoadTimeout):
        compute.sync()


def test_a_call_without_an_app_says_what_to_do():
    """Without a live app a call raises with the cure."""
    manager = CacheManager()

    @manager.memoize(timeout=20)
    def compute():
        return 1

    with pytest.raises(RuntimeError, match="init_app"):
        compute.sync()


def test_disabled_calls_the_function(calls):
    """With ASWR_ENABLED=False a call is a call."""
    app = Flask("shop")
    app.config["ASWR_ENABLED"] = False
    manager = CacheManager(app)

    @manager.memoize(timeout=20)
    def compute():
        calls.append(1)
        return len(calls)

    @manager.memoize(timeout=20)
    async def acompute():
        return 5

    assert [compute.sync(), compute.sync(), asyncio.run(compute())] == [1, 2, 3]
    assert [acompute.sync(), asyncio.run(acompute())] == [5, 5]


def test_apps_keep_their_own_results(clock, calls):
    """One manager serves many apps, each with its own results; current_app decides."""
    apps = [Flask("a"), Flask("b")]
    manager = CacheManager(clock=clock)
    for app in apps:
        manager.init_app(app)

    @manager.memoize(timeout=20)
    def compute():
        return flask.current_app.name

    names = []
    for app in apps * 2:
        with app.app_context():
            names.append(compute.sync())
    assert names == ["a", "b", "a", "b"]
    with pytest.raises(RuntimeError, match="2 apps"):
        compute.sync()
    manager.close()


def test_an_app_that_comes_or_goes_is_noticed(clock, calls):
    """Calls outside of all apps are for the only app there is at that moment, or raise."""
    manager = CacheManager(clock=clock)
    first = Flask("first")
    manager.init_app(first)

    @manager.memoize(timeout=20)
    def compute():
        return flask.current_app.name

    assert [compute.sync(), compute.sync()] == ["first", "first"]
    second = Flask("second")
    manager.init_app(second)
    with pytest.raises(RuntimeError, match="2 apps"):
        compute.sync()
    with first.app_context():
        assert compute.sync() == "first"
        with second.app_context():
            assert compute.sync() == "second"
        assert compute.sync() == "first"
    with pytest.raises(RuntimeError, match="2 apps"):
        compute.sync()
    del first
    gc.collect()
    assert [compute.sync(), compute.sync()] == ["second", "second"]
    del second
    gc.collect()
    with pytest.raises(RuntimeError, match="no app"):
        compute.sync()
    manager.close()


def test_an_app_of_another_manager_is_not_mistaken(app, manager):
    """In the context of an app that is not the manager's, a call is for the only one that is."""

    @manager.memoize(timeout=20)
    def compute():
        return current_app.name

    assert [compute.sync(), compute.sync()] == ["shop", "shop"]
    with Flask("other").app_context():
        assert [compute.sync(), compute.sync()] == ["shop", "shop"]


def test_calls_keep_no_app_alive(clock):
    """An app that is dropped takes its results with it, though a call was for it of late."""
    manager = CacheManager(clock=clock)
    app = Flask("shop")
    manager.init_app(app)
    site = weakref.ref(app.extensions["aswr.site"])

    @manager.memoize(timeout=20)
    def compute():
        return 1

    compute.sync()
    assert compute.sync() == 1
    manager.close()
    gone = threading.Event()
    weakref.finalize(app, gone.set)
    del app
    for _ in range(500):  # a thread may still be letting go of the last load
        gc.collect()
        if gone.wait(0.02):
            break
    assert gone.is_set()
    assert site() is None


@pytest.mark.parametrize("copied", [False, True])
def test_every_hit_counts(app, manager, clock, calls, copied):
    """Fresh, stale, awaited, by sync, copied or not: a hit is counted once, and its entry's use."""

    @manager.memoize(timeout=20, refresh_margin=10, copy=copied)
    def compute(x):
        calls.append(x)
        return [x]

    async def call():
        return await compute(1)

    def uses():
        memory = manager._for_verb().store.memory
        return [memory.uses(key) for key in memory.keys()]  # noqa: SIM118

    def counted():
        return {name: manager.stats()[name] for name in ("hits", "stale_hits", "misses")}

    compute.sync(1)
    assert compute.sync(1) == asyncio.run(call()) == [1]
    assert counted() == {"hits": 2, "stale_hits": 0, "misses": 1}
    assert uses() == [2]
    clock.tick(9.999)
    compute.sync(1)
    assert counted() == {"hits": 3, "stale_hits": 0, "misses": 1}
    clock.tick(0.001)
    assert asyncio.run(call()) == [1]
    assert counted() == {"hits": 4, "stale_hits": 1, "misses": 1}
    assert manager.join(5)
    assert calls == [1, 1]


@pytest.mark.parametrize("awaited", [False, True])
def test_a_fresh_hit_ends_with_its_entry(app, manager, clock, calls, awaited):
    """What was purged, or is past its timeout, is computed anew, however often it was hit."""

    @manager.memoize(timeout=20, refresh_margin=0, tags=("all",))
    def compute(x):
        calls.append(x)
        return len(calls)

    def call():
        return asyncio.run(compute(1)) if awaited else compute.sync(1)

    purges = (
        lambda: compute.invalidate(1), lambda: manager.invalidate_tags("all"), manager.clear,
        lambda: clock.tick(20),
    )  # fmt: skip
    for number, purge in enumerate(purges, 1):
        assert [call(), call(), call()] == [number] * 3
        purge()
    assert call() == 5


def test_sizeof_decides_what_a_result_weighs(clock, calls):
    """sizeof= gives a result's bytes; one over the bound is handed out and not kept."""
    app = Flask("shop")
    manager = CacheManager(app, clock=clock, max_bytes=100_000)

    @manager.memoize(timeout=20, sizeof=lambda value: 10_000_000)
    def huge():
        calls.append(1)
        return object()

    assert huge.sync() is not huge.sync()
    assert len(calls) == 2
    manager.close()


def test_classes_of_one_name_are_two_classes(app, manager):
    """Enums that a function makes anew each time never share a key."""
    import enum

    def make(value):
        class Colour(enum.Enum):
            RED = value

        return Colour.RED

    @manager.memoize(timeout=20)
    def compute(colour):
        return colour.value

    one, two = make(1), make(2)
    assert [compute.sync(one), compute.sync(two)] == [1, 2]


def test_responses_and_iterators_are_no_results(app, manager):
    """What one caller changes or uses up is refused, with what to return instead."""

    @manager.memoize(timeout=20)
    def respond():
        return flask.jsonify(a=1)

    @manager.memoize(timeout=20)
    def generate():
        return (n for n in range(3))

    with app.test_request_context(), pytest.raises(TypeError, match="return the data"):
        respond.sync()
    with pytest.raises(TypeError, match="return a list"):
        generate.sync()


def test_after_close_a_call_is_a_call_and_a_purge_is_a_purge(app, manager, calls):
    """A closed manager computes what it has not stored, and never serves what was purged."""

    @manager.memoize(timeout=20)
    def compute(x):
        calls.append(x)
        return len(calls)

    assert compute.sync(1) == 1
    manager.close()
    assert compute.sync(1) == 1
    assert [compute.sync(2), compute.sync(2)] == [2, 3]
    assert compute.refresh(2) == 4
    compute.invalidate(1)
    assert compute.sync(1) == 5
    assert not [t for t in threading.enumerate() if t.name == "aswr-loop"]


# Behind a store that others share


class Pair:
    """Two processes' managers over one cache, each with the same function."""

    def __init__(self, clock, function, config=None, **options):
        self.cache = SimpleMemoryCache()
        self.apps, self.managers, self.calls = [], [], []
        for _ in range(2):
            app = Flask("shop")
            app.config.update(config or {})
            manager = CacheManager(app, self.cache, clock=clock)
            self.apps.append(app)
            self.managers.append(manager)
            self.calls.append(manager.memoize(timeout=60, **options)(function))

    def __iter__(self):
        """What each gets, the second when the first has stored it."""
        for manager, call in zip(self.managers, self.calls, strict=True):
            yield call.sync(1)
            assert manager.join(5)


@pytest.fixture
def pairs(clock):
    """Makes pairs, and closes their managers."""
    made = []

    def make(function, **options):
        made.append(Pair(clock, function, **options))
        return made[-1]

    yield make
    for manager in [manager for pair in made for manager in pair.managers]:
        manager.close()


@dataclasses.dataclass(frozen=True)
class Price:
    amount: Decimal
    seen: frozenset[str]


def test_results_travel_as_annotated(pairs, calls):
    """What a function says it returns comes out of the shared store as it went in."""

    def compute(x) -> Price:
        calls.append(x)
        return Price(Decimal("1.50"), frozenset({"a"}))

    one, other = pairs(compute)
    assert one == other == Price(Decimal("1.50"), frozenset({"a"}))
    assert one is not other
    assert calls == [1]


@pytest.mark.parametrize("copy", [False, True])
def test_results_that_cannot_travel_stay(pairs, calls, caplog, copy):
    """They are never changed and fail nobody: each process has its own, and the log says why."""

    def compute(x):
        calls.append(x)
        return (x, {x})

    pair = pairs(compute, copy=copy)
    with caplog.at_level(logging.WARNING, "aswr"):
        assert list(pair) == [(1, {1})] * 2
        assert pair.calls[0].sync(2) == (2, {2})
        assert pair.managers[0].join(5)
    assert calls == [1, 1, 2]
    assert not pair.cache._cache
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, "one of each process"
    assert "compute returned a tuple that a shared store cannot carry" in lines[0]
    assert "memoize(..., shared=False)" in lines[0]


def test_strict_refuses_results_that_cannot_travel(pairs, calls):
    """In tests and CI it is an error where a store is shared, and not where it is not meant."""

    def compute(x):
        return {x}

    strict = {"ASWR_STRICT": True}
    with pytest.raises(TypeError, match=r"compute returned a set .*codec=.*shared=False"):
        next(iter(pairs(compute, config=strict)))
    assert list(pairs(compute, config=strict, shared=False)) == [{1}, {1}]

    def annotated(x) -> set[int]:
        return {x}

    assert list(pairs(annotated, config=strict)) == [{1}, {1}]


def test_strict_without_a_shared_store(app, clock):
    """Where nothing travels, nothing needs to be able to."""
    app.config["ASWR_STRICT"] = True
    manager = CacheManager(app, clock=clock)
    assert manager.memoize(timeout=60)(lambda: {1}).sync() == {1}
    manager.close()


def test_results_that_are_not_shared(pairs, calls, caplog):
    """With shared=False they stay in this process, and nobody is told."""

    def compute(x) -> int:
        calls.append(x)
        return x

    pair = pairs(compute, shared=False)
    with caplog.at_level(logging.WARNING, "aswr"):
        assert list(pair) == [1, 1]
    assert calls == [1, 1]
    assert not pair.cache._cache
    assert not caplog.records


class Thing:
    """What msgspec does not carry."""

    def __init__(self, text):
        self.text = text


class Things:
    """A codec for it."""

    def encode(self, value):
        return value.text.encode()

    def decode(self, data):
        return Thing(data.decode())


def test_results_travel_by_their_own_codec(pairs, calls):
    """A codec carries what nothing else does."""

    def compute(x):
        calls.append(x)
        return Thing("ä")

    one, other = pairs(compute, codec=Things())
    assert (one.text, other.text, calls) == ("ä", "ä", [1])
