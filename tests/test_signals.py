"""The events as blinker signals: the sender is the app, and a receiver is like a hook."""

import contextlib
import gc
import logging
from typing import Any

import pytest
from flask import Flask

from aswr import CacheManager, events, signals
from aswr.events import KINDS, SIGNALS, Event

from .conftest import Clock


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Any:
    there = {kind: set(signal.receivers) for kind, signal in SIGNALS.items()}
    yield
    assert {kind: set(signal.receivers) for kind, signal in SIGNALS.items()} == there


def ask(app: Flask, path: str) -> Any:
    return app.test_client().get(path)


def define(app: Flask, manager: CacheManager) -> None:
    for path in ("/one", "/two"):
        app.add_url_rule(path, path[1:], manager.cacher(timeout=60)(_views[path]))


_views = {"/one": lambda: "1", "/two": lambda: "2"}


def test_there_is_one_of_each_kind() -> None:
    """``aswr.signals`` has every kind; "pass" is a word of Python's, and goes by "passed"."""
    named = {name: value for name, value in vars(signals).items() if name in SIGNALS}
    named["pass"] = signals.passed
    assert named == SIGNALS
    assert set(SIGNALS) == set(KINDS)


def test_the_sender_is_the_app(app: Flask, manager: CacheManager, clock: Clock) -> None:
    """Who connects by an app hears of that app alone."""
    define(app, manager)
    other = Flask("other")
    others = CacheManager(other, clock=clock)
    define(other, others)
    heard: list[tuple[Flask, str]] = []

    @signals.miss.connect_via(app)
    def receive(sender: Flask, event: Event) -> None:
        heard.append((sender, event.app))

    try:
        ask(app, "/one")
        ask(other, "/one")
        assert heard == [(app, "shop")]
        assert "miss" in manager.site_of(app).engine.events.wanted
        assert "miss" not in others.site_of(other).engine.events.wanted
    finally:
        signals.miss.disconnect(receive)
    ask(app, "/two")
    assert len(heard) == 1
    assert "miss" not in manager.site_of(app).engine.events.wanted
    others.close()


def test_a_weak_receiver(
    app: Flask, manager: CacheManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is gone costs nothing any more: no event is made for nobody."""
    define(app, manager)

    class Receiver:
        heard = 0

        def receive(self, sender: Flask, event: Event) -> None:
            self.heard += 1

    receiver = Receiver()
    signals.hit.connect(receiver.receive)
    ask(app, "/one")
    ask(app, "/one")
    assert receiver.heard == 1
    del receiver
    gc.collect()
    monkeypatch.setattr(events, "Event", None)
    ask(app, "/one")
    assert "hit" not in manager.site_of(app).engine.events.wanted


def test_muted(app: Flask, manager: CacheManager, clock: Clock) -> None:
    """A signal that is muted calls nobody."""
    define(app, manager)
    heard = []
    with signals.miss.connected_to(lambda app, event: heard.append(event)):
        with signals.miss.muted():
            ask(app, "/one")
        ask(app, "/two")
    assert len(heard) == 1


def test_a_coroutine_function_receives_nothing() -> None:
    """A receiver that nobody would await is refused."""

    async def receive(app: Flask, event: Event) -> None: ...

    with pytest.raises(TypeError, match="nobody would await"):
        signals.hit.connect(receive)
    assert not signals.hit.receivers


def test_a_receiver_that_raises_harms_no_other(
    app: Flask, manager: CacheManager, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Of one signal's receivers each is called, and each that fails is logged once."""
    define(app, manager)
    heard = []

    def broken(sender: Flask, event: Event) -> None:
        raise RuntimeError("one")

    def broken_too(sender: Flask, event: Event) -> None:
        raise RuntimeError("two")

    def well(sender: Flask, event: Event) -> None:
        heard.append(event)

    with contextlib.ExitStack() as stack:
        for receiver in (broken, well, broken_too):
            stack.enter_context(signals.miss.connected_to(receiver))
        with caplog.at_level(logging.ERROR, "aswr.events"):
            ask(app, "/one")
            ask(app, "/two")
    assert len(heard) == 2
    assert len(caplog.records) == 2
