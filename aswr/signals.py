"""The events of all caches as blinker signals, as Flask has its own.

    from aswr.signals import load_failed

    @load_failed.connect_via(app)
    def tell(app, event): ...

The sender is the app, ``event`` an `aswr.Event`; `aswr.events.Kind` says what its fields mean.
"""

from .events import SIGNALS

hit = SIGNALS["hit"]
stale = SIGNALS["stale"]
miss = SIGNALS["miss"]
passed = SIGNALS["pass"]
load_started = SIGNALS["load_started"]
load_finished = SIGNALS["load_finished"]
load_failed = SIGNALS["load_failed"]
published = SIGNALS["published"]
evicted = SIGNALS["evicted"]
purged = SIGNALS["purged"]
breaker = SIGNALS["breaker"]
lease = SIGNALS["lease"]
learned = SIGNALS["learned"]
job = SIGNALS["job"]
