"""The public API as a typed user sees it. Checked by ``mypy --strict``, never run."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, assert_type

import aiocache
from flask import Flask, Response
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import get_tracer_provider
from prometheus_client import CollectorRegistry

import aswr
from aswr import (
    Answer,
    AswrError,
    CacheManager,
    Entry,
    JobInfo,
    LoadTimeout,
    UnkeyedInput,
    WaitTimeout,
    testing,
)
from aswr.metrics import prometheus
from aswr.tracing import instrument

app = Flask("shop")

# Made at once or later, with any kind of cache.

manager = CacheManager()
manager.init_app(app)
manager.init_app(app, aiocache.SimpleMemoryCache())
CacheManager(app, lambda: aiocache.SimpleMemoryCache(), max_bytes=2**20)
CacheManager(
    app, None, clock=lambda: 0.0, base_url="https://shop.test", drain_timeout=timedelta(seconds=3)
)
CacheManager(app, "redis://localhost:6379/0")
CacheManager(app, cache="unix:///run/redis.sock?db=1")
CacheManager(app, cache=aiocache.SimpleMemoryCache)
CacheManager("shop")  # type: ignore[arg-type]
CacheManager(app, max_bytes="1 MiB")  # type: ignore[arg-type]


# Views keep their parameters and what they return.


@app.route("/report/<int:year>")
@manager.cacher(timeout=60, refresh_margin=10)
async def report(year: int, month: int = 1) -> str:
    return f"{year}-{month}"


@app.route("/plain")
@manager.cacher(60)
def plain() -> tuple[str, int]:
    return "", 200


@app.route("/all")
@manager.cacher(
    timedelta(minutes=1),
    timedelta(seconds=5),
    lambda: "computed",
    stale_if_error=timedelta(hours=1),
    jitter=0.1,
    soft_timeout=0.5,
    load_timeout=None,
    wait_timeout=timedelta(seconds=9),
    tags=lambda response: (response.headers["X-Tag"],),
    unless=lambda: False,
    store_if=lambda response: response.status_code == 200,
    statuses={404: 30, 410: timedelta(minutes=1)},
    max_body=1024,
    blocking=True,
    run_before_request=False,
)
async def with_everything() -> Response:
    return Response("")


@app.route("/proxied")
@manager.cacher()
async def proxied() -> Response:
    return Response("", headers={"Cache-Control": "s-maxage=60"})


manager.cacher(None)
manager.cacher(60, query="read", vary=["Accept-Language", "cookie:theme"], ignore=("User-Agent",))
manager.cacher(60, query={"page", "sort"}, vary="response", key=lambda: 5)
manager.cacher(60, scope=lambda: None, emit_cache_control=True, request_directives=True)
manager.cacher(60, public=True, cdn_timeout=timedelta(hours=1))
manager.cacher(60, public=True, cdn_timeout=None)
manager.cacher(60, compress=True)
manager.cacher(60, compress=["br", "gzip"])
manager.cacher(60, compress=("zip",))  # type: ignore[arg-type]
manager.cacher(60, compress="gzip")  # type: ignore[arg-type]


class Page(MethodView):
    decorators = [manager.cacher(60)]

    async def get(self) -> ResponseReturnValue:
        return ""


class Other(MethodView):
    @manager.cacher(60, tags=("news",))
    async def get(self, name: str) -> ResponseReturnValue:
        return name


app.add_url_rule("/page", view_func=Page.as_view("page"))

later: Coroutine[Any, Any, str] = report(2026)
assert_type(plain(), tuple[str, int])
assert_type(report.__name__, str)
report(2026)  # type: ignore[unused-coroutine]  # still a coroutine function

assert_type(report.refresh(year=2026), Entry | None)
assert_type(report.invalidate(year=2026), bool)


async def view_verbs() -> None:
    assert_type(await report(2026), str)
    assert_type(await report(2026, month=2), str)
    await report("2026")  # type: ignore[arg-type]  # its parameters are known
    await report()  # type: ignore[call-arg]
    await report(2026, day=1)  # type: ignore[call-arg]
    assert_type(await report.arefresh(year=2026), Entry | None)
    assert_type(await report.ainvalidate(year=2026), bool)


# Bad options are errors of type, too.

manager.cacher("60")  # type: ignore[arg-type]
manager.cacher(60, tags="news")  # type: ignore[arg-type]
manager.cacher(60, timeouts=5)  # type: ignore[call-arg]
manager.cacher(60, statuses={"404": 30})  # type: ignore[dict-item]
manager.cacher(60, blocking=None)  # type: ignore[arg-type]
manager.cacher(60, public=1)  # type: ignore[arg-type]
manager.cacher(60, query=False)  # type: ignore[arg-type]
manager.cacher(60, query=["page", 1])  # type: ignore[list-item]
manager.cacher(60, vary=True)  # type: ignore[arg-type]
manager.cacher(60, ignore=None)  # type: ignore[arg-type]
manager.cacher(60, scope=5)  # type: ignore[arg-type]
manager.cacher(60, key=lambda year: year)  # type: ignore[misc, arg-type]
manager.memoize()  # type: ignore[call-arg]
manager.memoize(None)  # type: ignore[arg-type]
manager.cacher(plain)  # type: ignore[arg-type]  # bare, without parentheses
manager.memoize(60, statuses={404: 30})  # type: ignore[call-arg]


# Memoized functions are awaited, or called with .sync, and keep their parameters.


@manager.memoize(60)
async def price(item: str, amount: int = 1) -> float:
    return 1.0 * amount


@manager.memoize(
    timedelta(minutes=1),
    5,
    stale_if_error=60,
    jitter=0.5,
    soft_timeout=1,
    load_timeout=5,
    wait_timeout=5,
    key=lambda item: item.lower(),
    tags=("prices",),
    store_if=lambda result: result is not None,
    copy=True,
    sizeof=len,
)
def names(item: str) -> list[str]:
    return [item]


class Textual:
    """A codec of the user's own."""

    def encode(self, value: Any) -> bytes:
        return str(value).encode()

    def decode(self, data: bytes) -> Any:
        return data.decode()


@manager.memoize(60, shared=False)
def here_alone() -> object:
    return object()


@manager.memoize(60, codec=Textual())
async def textual(item: str) -> str:
    return item


manager.memoize(60, shared="no")  # type: ignore[arg-type]
manager.memoize(60, codec="pickle")  # type: ignore[arg-type]
manager.cacher(60, shared=False)  # type: ignore[call-arg]


def sync_calls() -> None:
    assert_type(price.sync("apple", amount=2), float)
    assert_type(names.sync("apple"), list[str])
    assert_type(price.refresh("apple", 2), float | None)
    assert_type(price.peek("apple"), Entry | None)
    assert_type(price.invalidate("apple", amount=2), bool)
    assert_type(textual.sync("apple"), str)
    assert_type(here_alone.sync(), object)
    price.sync(5)  # type: ignore[arg-type]
    price.peek()  # type: ignore[call-arg]
    price.invalidate("apple", colour=2)  # type: ignore[call-arg]
    names.refresh("apple", 2)  # type: ignore[call-arg]


async def async_calls() -> None:
    assert_type(await price("apple", 2), float)
    assert_type(await names("apple"), list[str])  # a plain function is awaited, too
    await price.arefresh("apple")
    assert_type(await names.ainvalidate("apple"), bool)
    await price(5)  # type: ignore[arg-type]
    await names()  # type: ignore[call-arg]


# Verbs, jobs, life cycle.


def verbs() -> None:
    manager.schedule_periodic_refresh("/report/2026", 10)
    manager.schedule_periodic_refresh("/report/2026", timedelta(seconds=10), lambda year: str(year))
    manager.schedule_periodic_refresh("/report/2026", interval="10")  # type: ignore[arg-type]
    assert_type(manager.refresh("/report/2026?month=2"), Entry | None)
    assert_type(manager.invalidate("/report/2026"), bool)
    assert_type(manager.invalidate("/report/2026", stale=True), bool)
    manager.invalidate("/report/2026", True)  # type: ignore[call-arg]
    assert_type(manager.invalidate_tags("news", "prices"), bool)
    assert_type(manager.invalidate_tags("news", stale=True), bool)
    manager.invalidate_tags(["news"])  # type: ignore[arg-type]
    assert_type(manager.clear(), bool)
    assert_type(manager.clear(stale=True), bool)
    assert_type(manager.peek("/report/2026"), Entry | None)
    assert_type(manager.stats(), dict[str, Any])
    assert_type(manager.jobs(), list[JobInfo])
    manager.start()
    assert_type(manager.join(), bool)
    assert_type(manager.join(timeout=5.0), bool)
    manager.close()
    manager.close(timeout=timedelta(seconds=1))


async def async_verbs() -> None:
    assert_type(await manager.arefresh("/report/2026"), Entry | None)
    assert_type(await manager.ainvalidate("/report/2026", stale=True), bool)
    assert_type(await manager.ainvalidate_tags("news", "prices", stale=True), bool)
    assert_type(await manager.aclear(stale=True), bool)


asgi = manager.asgi()
asgi = manager.asgi(app)


# What they return, and raise.


def look(entry: Entry) -> None:
    assert_type(entry.stale_until, float)
    assert_type(entry.tags, tuple[str, ...])
    if isinstance(entry.value, Answer):
        assert_type(entry.value.status, int)
        assert_type(entry.value.headers, tuple[tuple[str, str], ...])
        assert_type(entry.value.body, bytes)
    entry.value = None  # type: ignore[misc]  # immutable


def catch() -> None:
    try:
        price.sync("apple")
    except (LoadTimeout, WaitTimeout) as error:
        assert_type(error.get_response().status_code, int)
    except UnkeyedInput as error:
        assert_type(str(error), str)
    except AswrError as error:
        assert_type(str(error), str)


@app.errorhandler(aswr.WaitTimeout)
def come_again(error: aswr.WaitTimeout) -> ResponseReturnValue:
    return f"come again in {error.retry_after} s", 503


# The test kit.


def test_a_price(aswr_kit: testing.MakeKit) -> None:
    cache = aswr_kit(app)
    cache = aswr_kit(manager)
    assert_type(cache, testing.Kit)
    cache.advance(timedelta(minutes=1))
    cache.advance("1")  # type: ignore[arg-type]
    assert_type(cache.run_due_refreshes(wait=False), int)
    assert_type(cache.clock(), float)
    assert_type(cache.events, list[aswr.Event])
    with cache.hold(report) as gate:
        gate.wait_for_load(timeout=1)
        assert_type(gate.held, int)
    with cache.hold(price), cache.hold("/report/2026"), cache.hold():
        cache.settle()
    with cache.fail(report, ConnectionError), cache.fail("/all", OSError("x")) as fault:
        fault.mend()
    response = app.test_client().get("/report/2026")
    assert_type(testing.cache_status(response).ttl, int | None)
    assert_type(testing.assert_passes(response, "unless"), testing.CacheStatus)


def with_a_store() -> None:
    store = testing.FailingStore()
    CacheManager(app, cache=store)
    store.fail(OSError())
    assert_type(store.calls["get"], int)
    with testing.Kit(manager) as cache:
        assert_type(cache, testing.Kit)


# Metrics and traces, switched on and off again.


def watched() -> None:
    assert_type(prometheus(manager), Callable[[], None])
    prometheus(manager, CollectorRegistry())()
    prometheus(app)  # type: ignore[arg-type]
    assert_type(instrument(manager), Callable[[], None])
    instrument(manager, get_tracer_provider(), get_meter_provider())()
    instrument(manager, "otlp")  # type: ignore[arg-type]
