"""Traces and metrics for OpenTelemetry, as its in-memory exporter and reader have them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, request
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aswr import CacheManager, measures, tracing
from aswr.keys import digest
from aswr.measures import METRICS
from aswr.tally import BOUNDS
from aswr.tracing import instrument


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meters(reader) -> Iterator[MeterProvider]:
    meters = MeterProvider([reader])
    yield meters
    meters.shutdown()


@pytest.fixture
def end(manager, provider, meters) -> Iterator[Callable[[], None]]:
    """The manager, instrumented; what ends that."""
    end = instrument(manager, provider, meters)
    yield end
    manager.close(timeout=0.5)
    end()


@pytest.fixture
def tracer(provider, end) -> trace.Tracer:
    """The application's own."""
    return provider.get_tracer("app")


@pytest.fixture
def ask(app, tracer) -> Callable[..., ReadableSpan]:
    """GET under a span, as an instrumentation of Flask does it; returns that span."""

    def ask(path: str, **options: Any) -> ReadableSpan:
        with tracer.start_as_current_span("request") as span:
            app.test_client().get(path, **options)
        assert isinstance(span, ReadableSpan)
        return span

    return ask


@pytest.fixture
def loads(manager, exporter) -> Callable[[], list[ReadableSpan]]:
    """The spans of the loads that are over."""

    def loads() -> list[ReadableSpan]:
        manager.join()
        return [s for s in exporter.get_finished_spans() if s.name.startswith("aswr.load ")]

    return loads


@pytest.fixture(params=["async", "def", "blocking", "public", "memoized"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def install(app, manager) -> Callable[..., str]:
    """Make a cached page at /page of a body, in one of all ways to load; returns its name."""

    def install(kind: str, body: Callable[[], str]) -> str:
        async def async_body() -> str:
            await asyncio.sleep(0)
            return body()

        options: dict[str, Any] = {"timeout": 20, "refresh_margin": 10}
        if kind == "memoized":
            compute = manager.memoize(**options)(body)
            app.add_url_rule("/page", "page", lambda: compute.sync())
            return name_of(body)
        function = body if kind == "def" else async_body
        options |= {"public": kind == "public", "blocking": kind == "blocking"}
        app.add_url_rule("/page", "page", manager.cacher(**options)(function))
        return name_of(function)

    return install


def name_of(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


class TestLoads:
    def test_a_miss_is_linked(self, ask, loads, install, kind, app):
        """A load is a span of a trace of its own, linked to the request that waits for it."""
        name = install(kind, lambda: "page")
        asked = ask("/page")
        (load,) = loads()
        assert load.name == f"aswr.load {name}"
        assert load.kind is SpanKind.INTERNAL
        assert load.parent is None
        assert load.context.trace_id != asked.context.trace_id
        assert [link.context for link in load.links] == [asked.context]
        assert load.attributes == {
            "aswr.app": "shop",
            "aswr.view": name,
            "aswr.cause": "miss",
            "aswr.key_hash": load.attributes["aswr.key_hash"],
            "aswr.outcome": "stored",
        }
        assert load.status.status_code is StatusCode.UNSET
        assert load.end_time >= load.start_time

    def test_a_stale_hit_is_linked(self, ask, loads, install, kind, clock):
        """A load that a stale hit set off is linked to that request, which did not wait."""
        install(kind, lambda: "page")
        ask("/page")
        clock.tick(12)
        asked = ask("/page")
        load = loads()[-1]
        assert load.attributes["aswr.cause"] == "stale"
        assert [link.context for link in load.links] == [asked.context]

    def test_who_joins_a_load_makes_no_other_span(self, app, tracer, loads, background, gate):
        """Ten requests of one load are one span, linked to the first."""
        manager = app.extensions["aswr"]

        @app.get("/slow")
        @manager.cacher(timeout=20)
        def slow() -> str:
            gate.hold()
            return "done"

        client = app.test_client()
        first = background(lambda: client.get("/slow"))
        gate.await_arrival()
        others = [background(lambda: app.test_client().get("/slow")) for _ in range(9)]
        gate.open()
        for each in [first, *others]:
            each.result()
        assert len(loads()) == 1

    def test_without_a_request_there_is_no_link(self, app, loads, install, end, manager):
        """A refresh by code that is in no span has a span without links."""
        install("async", lambda: "page")
        manager.refresh("/page")
        (load,) = loads()
        assert (load.attributes["aswr.cause"], load.links) == ("refresh", ())
        assert manager.site_of(app).engine.events.cause("miss").origin is None

    def test_a_job_is_a_cause(self, loads, install, end, manager, gate):
        """A periodic refresh's load says so, and is linked to nothing."""
        install("def", lambda: (gate.hold(), "page")[1])
        manager.schedule_periodic_refresh("/page", 3600)
        manager.start()
        gate.await_arrival()
        gate.open()
        (load,) = loads()
        assert (load.attributes["aswr.cause"], load.links) == ("job", ())

    def test_an_error_is_recorded(self, ask, loads, install, kind):
        """A load that raises ends its span with the exception, its stack and an error status."""

        def broken() -> str:
            raise LookupError("no such page")

        install(kind, broken)
        ask("/page")
        (load,) = loads()
        assert load.status.status_code is StatusCode.ERROR
        assert load.status.description == "LookupError: no such page"
        (event,) = load.events
        assert event.attributes["exception.type"] == "LookupError"
        assert "in broken" in event.attributes["exception.stacktrace"]
        assert load.attributes["aswr.outcome"] == "failed"

    def test_a_span_ends_when_its_load_s_time_is_up(self, app, ask, loads, manager, gate, exporter):
        """A thread may go on for ever; the span is that of a failure, and ends once."""

        @app.get("/page")
        @manager.cacher(timeout=20, load_timeout=0.05)
        def page() -> str:
            gate.hold()
            return "late"

        ask("/page")
        ended = exporter.get_finished_spans()
        (load,) = [span for span in ended if span.name.startswith("aswr.load ")]
        gate.open()
        assert loads() == [load]
        assert load.attributes["aswr.outcome"] == "failed"
        assert load.attributes["aswr.reason"].startswith("LoadTimeout: ")

    def test_a_5xx_is_an_error_too(self, app, ask, loads, manager):
        """A load that answers 503 has failed, though nothing was raised."""
        app.add_url_rule("/page", "page", manager.cacher(timeout=20)(lambda: ("busy", 503)))
        ask("/page")
        (load,) = loads()
        assert load.status.status_code is StatusCode.ERROR
        assert (load.attributes["aswr.reason"], load.events) == ("status 503", ())

    def test_what_is_not_stored_says_why(self, app, ask, loads, manager):
        """A load whose answer is not stored is no error, and its span has the reason."""
        app.add_url_rule("/page", "page", manager.cacher(timeout=20)(lambda: ("no", 404)))
        ask("/page")
        (load,) = loads()
        assert load.status.status_code is StatusCode.UNSET
        assert load.attributes["aswr.outcome"] == "not stored"
        assert load.attributes["aswr.reason"] == "status 404"

    def test_the_key_is_that_of_the_request(self, app, ask, loads, manager):
        """Load and request have one key hash, also where the load reads more than was known."""

        @app.get("/page")
        @manager.cacher(timeout=20)
        def page() -> str:
            return request.headers.get("X-Color", "none")

        for color in ("red", "blue"):
            asked = ask("/page", headers={"X-Color": color})
            assert loads()[-1].attributes["aswr.key_hash"] == asked.attributes["aswr.key_hash"]


class TestContext:
    def test_the_load_s_spans_nest_under_it(self, ask, loads, install, kind, tracer, exporter):
        """What the load's own code traces is a child of the load's span, in every kind of load."""

        def query() -> str:
            with tracer.start_as_current_span("query"):
                return "page"

        install(kind, query)
        ask("/page")
        (load,) = loads()
        (inner,) = [s for s in exporter.get_finished_spans() if s.name == "query"]
        assert inner.parent == load.context
        assert inner.context.trace_id == load.context.trace_id

    def test_nothing_of_the_request_is_in_a_load(self, install, kind, app, tracer, loads):
        """Neither baggage nor a value of the request's context is visible in a load."""
        seen: list[Any] = []

        def look() -> str:
            seen.append((dict(baggage.get_all()), context.get_value("tenant")))
            return "page"

        install(kind, look)
        own = context.set_value("tenant", "acme", baggage.set_baggage("user", "ann"))
        token = context.attach(own)
        try:
            with tracer.start_as_current_span("request"):
                app.test_client().get("/page")
        finally:
            context.detach(token)
        loads()
        assert seen == [({}, None)]

    def test_the_request_keeps_its_own(self, install, kind, app, tracer, loads):
        """The span that is current in a request is the same after a load as before."""
        install(kind, lambda: "page")
        with tracer.start_as_current_span("request") as span:
            app.test_client().get("/page")
            assert trace.get_current_span() is span
        loads()
        assert trace.get_current_span() is trace.INVALID_SPAN

    def test_a_nested_load_is_linked_to_the_outer_one(self, app, manager, ask, loads):
        """A load that another load's code asks for has its own trace, linked to that load."""

        @manager.memoize(timeout=20)
        def inner() -> str:
            return "inner"

        @app.get("/outer")
        @manager.cacher(timeout=20)
        def outer() -> str:
            return inner.sync()

        ask("/outer")
        first, second = loads()
        assert (first.name, second.name) == (
            f"aswr.load {name_of(inner)}",
            f"aswr.load {name_of(outer)}",
        )
        assert [link.context for link in first.links] == [second.context]

    def test_a_pass_runs_under_the_request(self, app, manager, ask, tracer, exporter):
        """A view that passes is the request's own doing: what it traces is the request's child."""

        @app.get("/mine")
        @manager.cacher(timeout=20)
        async def mine() -> str:
            with tracer.start_as_current_span("query"):
                return request.cookies.get("who", "nobody")

        ask("/mine")
        exporter.clear()
        client = app.test_client()
        client.set_cookie("who", "ann")
        with tracer.start_as_current_span("request") as span:
            assert client.get("/mine").text == "ann"
        (inner,) = [s for s in exporter.get_finished_spans() if s.name == "query"]
        assert inner.parent == span.get_span_context()


class TestVerdicts:
    def test_the_request_is_told(self, ask, install, clock, app, manager):
        """The request's span has the verdict, and the hash of the entry's key."""
        install("async", lambda: "page")
        miss, hit = ask("/page"), ask("/page")
        clock.tick(12)
        stale = ask("/page")
        spans = [miss, hit, stale]
        assert [s.attributes["aswr.verdict"] for s in spans] == ["miss", "hit", "stale"]
        (key,) = manager.site_of(app).store.memory.keys()
        assert {s.attributes["aswr.key_hash"] for s in spans} == {digest(key)}

    def test_a_pass_is_a_verdict(self, ask, app, manager):
        """A request that passes says so, and has no key."""
        app.add_url_rule(
            "/page", "page", manager.cacher(timeout=20, unless=lambda: True)(lambda: "page")
        )
        asked = ask("/page")
        assert asked.attributes == {"aswr.verdict": "pass"}

    def test_memoized_functions_leave_the_verdict_alone(self, ask, app, manager):
        """The verdict is the view's: calls of memoized functions do not overwrite it."""

        @manager.memoize(timeout=20)
        def compute() -> str:
            return "done"

        app.add_url_rule("/page", "page", lambda: compute.sync())
        assert ask("/page").attributes == {}
        manager.close()  # then each call passes
        manager.clear()
        assert ask("/page").attributes == {}

    def test_a_load_s_span_gets_no_verdict(self, ask, app, manager, loads):
        """A cached view that another one's load calls does not mark that load's span."""

        @app.get("/part")
        @manager.cacher(timeout=20)
        def part() -> str:
            return "part"

        @app.get("/whole")
        @manager.cacher(timeout=20)
        def whole() -> Any:
            return part()

        ask("/whole")
        assert all("aswr.verdict" not in span.attributes for span in loads())

    def test_without_a_span_nothing_is_hashed(self, app, install, end, monkeypatch):
        """Where no span is recorded a hit's key is not hashed."""
        install("async", lambda: "page")
        app.test_client().get("/page")
        hashed: list[Any] = []
        monkeypatch.setattr("aswr.tracing.digest", hashed.append)
        assert "hit" in app.test_client().get("/page").headers["Cache-Status"]
        assert hashed == []


class TestEnd:
    def test_the_end_leaves_nothing(self, app, manager, end, install, loads, reader):
        """After the end nothing is traced, observed, asked or subscribed to."""
        install("async", lambda: "page")
        app.test_client().get("/page")
        assert len(loads()) == 1
        end()
        end()
        app.test_client().get("/page")
        manager.refresh("/page")
        events = manager.site_of(app).engine.events
        assert (events.wanted, events.origin, events.enter) == (frozenset(), None, None)
        assert len(loads()) == 1
        assert observed(reader)("aswr.hits", kind="fresh") is None

    def test_loads_in_progress_end_with_it(self, app, manager, end, loads, background, gate):
        """The span of a load in progress ends when its tracer does."""

        @app.get("/slow")
        @manager.cacher(timeout=20)
        def slow() -> str:
            gate.hold()
            return "done"

        asked = background(lambda: app.test_client().get("/slow"))
        gate.await_arrival()
        end()
        gate.open()
        asked.result()
        (load,) = loads()
        assert "aswr.outcome" not in load.attributes

    def test_it_can_be_instrumented_again(
        self, app, manager, end, provider, meters, install, loads
    ):
        """After the end it can begin again, with the same providers, and counts once."""
        end()
        again = instrument(manager, provider, meters)
        install("async", lambda: "page")
        app.test_client().get("/page")
        assert len(loads()) == 1
        again()

    def test_once_is_enough(self, manager, end, provider):
        """Instrumenting a manager twice is an error that says so."""
        with pytest.raises(ValueError, match="call instrument\\(manager\\) once"):
            instrument(manager, provider)

    def test_apps_may_come_later(self, clock, provider, meters, exporter):
        """A manager may be instrumented before it has an app."""
        manager = CacheManager(clock=clock)
        end = instrument(manager, provider, meters)
        app = Flask("late")
        manager.init_app(app)
        app.add_url_rule("/page", "page", manager.cacher(timeout=20)(lambda: "page"))
        with provider.get_tracer("app").start_as_current_span("request") as span:
            app.test_client().get("/page")
        manager.close()
        end()
        load = next(s for s in exporter.get_finished_spans() if s.name.startswith("aswr.load"))
        assert load.attributes["aswr.app"] == "late"
        assert [link.context for link in load.links] == [span.get_span_context()]

    def test_the_global_providers_may_be_set_later(self):
        """Without providers it is the global ones, though they are set after `instrument`."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", GLOBAL],
            capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    def test_a_forked_child_ends_no_span_of_its_parent(
        self, app, manager, end, exporter, background, gate
    ):
        """In a forked child the loads in progress, and their spans, are none of its business."""

        @app.get("/slow")
        @manager.cacher(timeout=20)
        def slow() -> str:
            gate.hold()
            return "done"

        asked = background(lambda: app.test_client().get("/slow"))
        gate.await_arrival()
        pid = fork()
        if not pid:
            end()
            os._exit(len(exporter.get_finished_spans()))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        gate.open()
        asked.result()

    def test_the_error_without_the_library_names_the_extra(self, manager, monkeypatch):
        """Without opentelemetry-api the error says what to install."""
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        with pytest.raises(ImportError, match=r"pip install 'aswr\[opentelemetry\]'"):
            instrument(manager)


# There is one of each in a process, and it is set once.
GLOBAL = """
from flask import Flask
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from aswr import CacheManager
from aswr.tracing import instrument

app = Flask("shop")
manager = CacheManager(app)
app.add_url_rule("/page", "page", manager.cacher(timeout=20)(lambda: "page"))
instrument(manager)
exporter, reader, provider = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
app.test_client().get("/page")
manager.close()
(span,) = exporter.get_finished_spans()
assert span.name.startswith("aswr.load "), span
(resource,) = reader.get_metrics_data().resource_metrics
names = {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
assert {"aswr.loads", "aswr.load", "aswr.entries"} <= names, names
"""


class TestFlaskInstrumentation:
    """With OpenTelemetry's own instrumentation of Flask, which reads the address in its hooks."""

    @pytest.fixture(params=["in-app", "public"])
    def traced(self, request, app, manager, provider, end) -> Iterator[Flask]:
        """The app, with a page that calls a traced function, instrumented after `init_app`."""
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        @app.get("/page")
        @manager.cacher(timeout=20, public=request.param == "public")
        def page() -> str:
            with provider.get_tracer("app").start_as_current_span("query"):
                return "page"

        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
        yield app
        FlaskInstrumentor().uninstrument_app(app)

    def test_pages_are_cached(self, traced):
        """What its hooks read is no input of the page: the second visitor has a hit."""
        first, second = (traced.test_client().get("/page") for _ in range(2))
        assert first.headers["Cache-Status"] == "aswr; fwd=uri-miss; stored"
        assert second.headers["Cache-Status"].startswith("aswr; hit")

    def test_the_load_is_linked_to_its_request(self, traced, loads, exporter):
        """The request's span has the verdict, the load's is linked to it and holds what it did."""
        traced.test_client().get("/page")
        (load,) = loads()
        spans = exporter.get_finished_spans()
        (server,) = [span for span in spans if span.kind is SpanKind.SERVER]
        (query,) = [span for span in spans if span.name == "query"]
        assert server.attributes["aswr.verdict"] == "miss"
        assert server.attributes["aswr.key_hash"] == load.attributes["aswr.key_hash"]
        assert [link.context for link in load.links] == [server.context]
        assert query.context.trace_id == load.context.trace_id


def fork() -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, with threads
        return os.fork()


def observed(reader: InMemoryMetricReader) -> Callable[..., Any]:
    """Collects once; gives the value of one time series, None where there is none."""
    data = reader.get_metrics_data()
    scopes = [] if data is None else [s for r in data.resource_metrics for s in r.scope_metrics]
    points = {
        (metric.name, frozenset(point.attributes.items())): point
        for scope in scopes
        for metric in scope.metrics
        for point in metric.data.data_points
    }

    def value(name: str, **attributes: str) -> Any:
        for (found, labels), point in points.items():
            if found == name and attributes.items() <= dict(labels).items():
                return getattr(point, "value", point)
        return None

    value.names = {name for name, _ in points}  # type: ignore[attr-defined]
    value.series = set(points)  # type: ignore[attr-defined]
    return value


class TestMetrics:
    def test_counters_are_the_tallies(self, app, manager, end, install, reader, clock):
        """What is observed is what the process counts anyway."""
        name = install("async", lambda: "page")
        client = app.test_client()
        client.get("/page")
        client.get("/page")
        clock.tick(12)
        client.get("/page")
        manager.join()
        value = observed(reader)
        assert value("aswr.hits", view=name, kind="fresh") == 1
        assert value("aswr.hits", view=name, kind="stale") == 1
        assert value("aswr.misses", view=name) == 1
        assert value("aswr.entries", app="shop") == 1
        assert value("aswr.memory.limit") == manager.stats()["max_bytes"]

    def test_loads_are_a_histogram(self, app, manager, end, install, reader):
        """Load times are recorded in seconds, in the classes of the tallies."""
        name = install("async", lambda: "page")
        app.test_client().get("/page")
        manager.join()
        point = observed(reader)("aswr.load", view=name)
        assert (point.count, tuple(point.explicit_bounds)) == (1, BOUNDS)
        assert point.sum == pytest.approx(manager.stats()["load_seconds"])

    def test_one_reading_a_collection(self, app, manager, end, install, reader, monkeypatch):
        """All metrics of one collection are of one reading; the next collection reads anew."""
        made = []

        def counted(engines: Any) -> Any:
            made.append(1)
            return measures.read(engines)

        monkeypatch.setattr(tracing, "read", counted)
        name = install("async", lambda: "page")
        client = app.test_client()
        client.get("/page")
        assert observed(reader)("aswr.hits", view=name, kind="fresh") == 0
        assert len(made) == 1
        client.get("/page")
        assert observed(reader)("aswr.hits", view=name, kind="fresh") == 1
        assert len(made) == 2
        monkeypatch.setattr(tracing, "MOMENT", -1.0)
        observed(reader)
        assert len(made) > 10, "a reading is good for a moment"

    def test_series_are_bounded(self, app, manager, end, reader):
        """A hundred URLs make as many series as one."""

        @app.get("/page/<name>")
        @manager.cacher(timeout=20)
        def page(name: str) -> str:
            return name

        client = app.test_client()
        client.get("/page/0")
        before = observed(reader).series
        for number in range(1, 100):
            client.get(f"/page/{number}?{number}")
        assert observed(reader).series == before

    def test_names_are_those_of_the_table(self, app, manager, end, install, reader):
        """Every metric of the table is observed by its name, but for a store that is not there."""
        install("async", lambda: "page")
        app.test_client().get("/page")
        app.test_client().post("/page")
        manager.join()
        absent = {"leases", "store.reachable", "store.errors", "breaker.openings", "passes"}
        names = {f"aswr.{metric.name}" for metric in METRICS if metric.name not in absent}
        assert observed(reader).names == names


def test_what_is_not_traced_costs_nothing(app, manager):
    """Without tracer nobody is subscribed, nothing is asked of requests, and contexts are empty."""
    events = manager.site_of(app).engine.events
    assert (events.wanted, events.origin, events.enter) == (frozenset(), None, None)
    assert SimpleNamespace(cause=events.cause("miss")).cause.origin is None
