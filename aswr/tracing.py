"""Traces and metrics for OpenTelemetry: ``pip install 'aswr[opentelemetry]'``.

    from aswr.tracing import instrument
    instrument(manager)

Each load is a span of its own trace, *linked* to the request that it began for and not its child:
it outlives that one, and answers others. Its code runs with that span as the current one, in a
context that is otherwise empty, so what a database client traces lies under it, and nothing of the
request, no baggage either, is seen there. The request's own span is told the verdict.

Any thread, as the events come. Owns the spans of loads in progress, and one set of instruments a
meter provider. Imported by nobody but the app.
"""

import importlib.metadata
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from .engine import Engine
from .events import Event
from .flight import current_flight
from .keys import CallKey, digest
from .manager import CacheManager
from .measures import LOAD, METRICS, Metric, Reading, read
from .tally import BOUNDS

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanContext, TracerProvider

MOMENT = 1.0  # seconds that a reading is good for: one collection asks for each metric once
UNITS = {"seconds": "s", "bytes": "By", "": ""}


def instrument(
    manager: CacheManager,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
) -> Callable[[], None]:
    """Trace the loads of the manager's apps, and export what they count; returns what ends that.

    Without a provider it is the global one, also where that is set later. May be called before
    `init_app` and before a server forks. Raises `ImportError` without opentelemetry-api,
    `ValueError` where the manager is instrumented already.
    """
    try:
        from opentelemetry import metrics
    except ImportError:
        raise ImportError(
            "aswr.tracing needs opentelemetry-api: pip install 'aswr[opentelemetry]'"
        ) from None
    if any(tracer.manager() is manager for tracer in list(_tracers)):
        raise ValueError(f"{manager!r} is instrumented already: call instrument(manager) once")
    tracer = Tracer(manager, tracer_provider)
    provider = metrics.get_meter_provider() if meter_provider is None else meter_provider
    meters = _instruments.get(provider)
    if meters is None:
        meters = _instruments[provider] = Instruments(provider)
    end_metrics = meters.add(manager)

    def end() -> None:
        end_metrics()
        tracer.end()

    return end


def _version() -> str:
    return importlib.metadata.version("aswr")


# Traces.


class Tracer:
    """The spans of one manager's loads, and the verdicts on its requests."""

    def __init__(self, manager: CacheManager, provider: "TracerProvider | None") -> None:
        from opentelemetry import trace

        self.manager = weakref.ref(manager)
        self._tracer = trace.get_tracer("aswr", _version(), provider)
        self._spans: dict[object, Span] = {}  # of loads in progress, by their token
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._ends = [
            manager.for_each_engine(self._see),
            manager.subscribe(self._begin, "load_started"),
            manager.subscribe(self._finish, "load_finished", "load_failed"),
            manager.subscribe(self._judge, "hit", "stale", "miss", "pass"),
        ]
        _tracers.add(self)

    def end(self) -> None:
        """Trace no more; the spans of loads in progress end here. Once, and then nothing."""
        ends, self._ends = self._ends, []
        for each in ends:
            each()
        for engine in list(self._engines):
            if engine.events.enter == self._enter:
                engine.events.origin = engine.events.enter = None
        self._engines.clear()
        spans = list(self._spans.values())
        self._spans.clear()
        for span in spans:
            span.end()
        _tracers.discard(self)

    def forget(self) -> None:
        """In a forked child: the loads in progress, and their spans, are the parent's."""
        self._spans.clear()

    def _see(self, engine: Engine) -> None:
        self._engines.add(engine)
        engine.events.origin, engine.events.enter = _origin, self._enter

    def _begin(self, event: Event) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import Link

        assert event.cause is not None
        origin = event.cause.origin
        self._spans[event.token] = self._tracer.start_span(
            f"aswr.load {event.view}",
            context=Context(),
            links=[] if origin is None else [Link(origin)],
            attributes={
                "aswr.app": event.app,
                "aswr.view": event.view,
                "aswr.cause": event.cause.what,
                "aswr.key_hash": digest(event.key),
            },
        )

    def _enter(self, token: object) -> None:
        """Make a load's span the current one here, where its code is to run."""
        from opentelemetry import context, trace

        if (span := self._spans.get(token)) is not None:
            context.attach(trace.set_span_in_context(span, context.Context()))

    def _finish(self, event: Event) -> None:
        from opentelemetry.trace import StatusCode

        span = self._spans.pop(event.token, None)
        if span is None:
            return
        failed = event.kind == "load_failed"
        stored = not failed and event.reason == "store"
        span.set_attribute(
            "aswr.outcome", "failed" if failed else "stored" if stored else "not stored"
        )
        if not stored:
            span.set_attribute("aswr.reason", event.reason)
        if failed:
            if event.error is not None:
                span.record_exception(event.error)
            span.set_status(StatusCode.ERROR, event.reason)
        span.end()

    def _judge(self, event: Event) -> None:
        """Tell the request's span what became of it: of views alone, and not of those in loads."""
        from opentelemetry import trace

        span = trace.get_current_span()
        if not span.is_recording() or isinstance(event.key, CallKey):
            return
        if current_flight.get() is not None:
            return
        span.set_attribute("aswr.verdict", event.kind)
        if event.key is not None:
            span.set_attribute("aswr.key_hash", digest(event.key))


def _origin() -> "SpanContext | None":
    """What a load is linked to: the span that is current where it is asked for."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


_tracers: "weakref.WeakSet[Tracer]" = weakref.WeakSet()


def _forget() -> None:
    for tracer in list(_tracers):
        tracer.forget()
    for instruments in list(_instruments.values()):
        instruments.forget()


os.register_at_fork(after_in_child=_forget)


# Metrics.


class Instruments:
    """What one meter provider reads, of all managers that are instrumented there.

    OpenTelemetry has no way to take an instrument back: who is not there any more is not observed.
    """

    def __init__(self, provider: "MeterProvider") -> None:
        self._managers: weakref.WeakSet[CacheManager] = weakref.WeakSet()
        self.forget()
        meter = provider.get_meter("aswr", _version())
        self._times = meter.create_histogram(
            f"aswr.{LOAD.name}", UNITS[LOAD.unit], LOAD.help,
            explicit_bucket_boundaries_advisory=BOUNDS,
        )  # fmt: skip
        for metric in METRICS:
            if metric.kind == "counter":
                create: Callable[..., Any] = meter.create_observable_counter
            elif metric.kind == "gauge" and metric.sums:
                create = meter.create_observable_up_down_counter
            elif metric.kind == "gauge":
                create = meter.create_observable_gauge
            else:
                continue
            callbacks = [partial(self._observe, metric)]
            create(f"aswr.{metric.name}", callbacks, UNITS[metric.unit], metric.help)

    def add(self, manager: CacheManager) -> Callable[[], None]:
        """Observe this manager's apps, too; what is returned ends that."""
        self._managers.add(manager)
        end_times = manager.subscribe(self._record, "load_finished", "load_failed")
        myself = weakref.ref(manager)

        def end() -> None:
            found = myself()
            if found is not None and found in self._managers:
                self._managers.discard(found)
                end_times()

        return end

    def forget(self) -> None:
        """Read anew; also in a forked child, where a thread that is not there may hold the lock."""
        self._lock = threading.Lock()  # what is below is changed under it
        self._reading = Reading()
        self._read_at = -math.inf
        self._told: set[str] = set()  # metrics that were observed by this reading

    def _record(self, event: Event) -> None:
        self._times.record(event.seconds or 0.0, {"app": event.app, "view": event.view})

    def _observe(self, metric: Metric, options: "CallbackOptions") -> "Iterable[Observation]":
        from opentelemetry.metrics import Observation

        for (name, labels), value in self._reading_for(metric).items():
            if name == metric.name:
                yield Observation(value, dict(zip(metric.labels, labels, strict=True)))

    def _reading_for(self, metric: Metric) -> Reading:
        """The counters as of now; the same for all metrics of one collection, read once.

        A metric that is asked for again is so by the next collection, or by another reader's.
        """
        with self._lock:
            now = time.monotonic()
            if metric.name in self._told or now - self._read_at > MOMENT:
                engines = [e for manager in list(self._managers) for e in manager.engines()]
                self._reading, self._read_at, self._told = read(engines), now, set()
            self._told.add(metric.name)
            return self._reading


_instruments: "weakref.WeakKeyDictionary[Any, Instruments]" = weakref.WeakKeyDictionary()
