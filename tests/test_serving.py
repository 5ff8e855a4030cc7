"""Knowing when an app begins to serve."""

import pytest
from flask import Flask

from aswr import CacheManager


@pytest.fixture
def started(monkeypatch):
    """An app with a job whose server only notes that it ran, and what start() was called."""
    events = []
    monkeypatch.setattr(Flask, "run", lambda self, *args, **kwargs: events.append("run"))
    monkeypatch.setattr(CacheManager, "start", lambda self: events.append("start"))
    monkeypatch.delenv("WERKZEUG_RUN_MAIN", raising=False)
    monkeypatch.delenv("FLASK_RUN_FROM_CLI", raising=False)
    app = Flask("shop")
    manager = CacheManager(app)
    manager.schedule_periodic_refresh("/x", 5)
    return app, manager, events


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["start", "run"]),
        ({"debug": True, "use_reloader": False}, ["start", "run"]),
        ({"debug": True}, ["run"]),
        ({"use_reloader": True}, ["run"]),
    ],
)
def test_app_run_starts_jobs_but_not_in_a_reloaders_parent(started, arguments, expected):
    """app.run() starts the jobs in the process that serves."""
    app, _manager, events = started
    app.run(**arguments)
    assert events == expected


def test_the_reloaders_child_starts_them(started, monkeypatch):
    """The child of the reloader serves, so it starts the jobs."""
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    app, _manager, events = started
    app.run(debug=True)
    assert events == ["start", "run"]


def test_app_run_under_the_flask_command_does_nothing(started, monkeypatch):
    """Flask ignores app.run() under its command line, and so do we."""
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    app, _manager, events = started
    app.run()
    assert events == ["run"]


def test_without_jobs_nothing_starts(monkeypatch):
    """A manager without jobs starts at the first miss, not with the server."""
    events = []
    monkeypatch.setattr(Flask, "run", lambda self, *args, **kwargs: events.append("run"))
    monkeypatch.setattr(CacheManager, "start", lambda self: events.append("start"))
    app = Flask("shop")
    _manager = CacheManager(app)
    app.run()
    assert events == ["run"]
