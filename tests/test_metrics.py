"""Metrics for Prometheus: what is counted, by which names, in one process and in several.

Read as Prometheus reads them, by the official parser. Four gunicorn workers are in
`tests/servers/test_metrics_servers.py`.
"""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiocache
import prometheus_client
import pytest
from flask import Flask, request, session
from prometheus_client.parser import text_string_to_metric_families

from aswr import CacheManager
from aswr.desk import desk_of
from aswr.measures import CLASSES, METRICS, reason_class
from aswr.metrics import prometheus
from aswr.tally import BOUNDS

from .conftest import Clock, Gate
from .reasons import REASONS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def registry() -> prometheus_client.CollectorRegistry:
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def exported(manager, registry) -> Iterator[CacheManager]:
    """The manager, exported."""
    end = prometheus(manager, registry)
    yield manager
    end()


class Scrape:
    """What a scrape brings, by name and labels."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        text = prometheus_client.generate_latest(registry).decode()
        self.families = list(text_string_to_metric_families(text))
        self.samples: Samples = {}
        for family in self.families:
            for sample in family.samples:
                place = (sample.name, frozenset(sample.labels.items()))
                assert place not in self.samples, f"{place} is there twice"
                self.samples[place] = sample.value

    def __call__(self, name: str, **labels: str) -> float | None:
        """One sample; ``app`` need not be given."""
        return self.samples.get((name, frozenset({"app": "shop", **labels}.items())))

    def names(self, **labels: str) -> set[str]:
        """The names of the samples that have these labels."""
        return {name for name, found in self.samples if labels.items() <= dict(found).items()}


def name_of(view) -> str:
    return f"{view.__module__}:{view.__qualname__}"


@pytest.fixture
def page(app, exported):
    """A cached page, stale from ten seconds on and gone after twenty; its view's name."""

    @app.get("/page/<name>")
    @exported.cacher(timeout=20, refresh_margin=10)
    def page(name: str) -> str:
        if name == "broken":
            raise RuntimeError("broken")
        return name

    return name_of(page)


class TestCounters:
    def test_hits_are_counted_by_kind(self, app, exported, registry, clock, page):
        """A fresh and a stale answer are hits of two kinds, and what they saved is counted."""
        client = app.test_client()
        client.get("/page/a")
        client.get("/page/a")
        clock.tick(12)
        client.get("/page/a")
        exported.join()
        scrape = Scrape(registry)
        assert scrape("aswr_hits_total", view=page, kind="fresh") == 1
        assert scrape("aswr_hits_total", view=page, kind="stale") == 1
        assert scrape("aswr_misses_total", view=page) == 1
        assert scrape("aswr_loads_total", view=page) == 2
        assert scrape("aswr_waits_total", view=page) == 1
        assert scrape("aswr_saved_seconds_total", view=page) == exported.stats()["seconds_saved"]
        waited = exported.stats()["seconds_waited"]
        assert scrape("aswr_waited_seconds_total", view=page) == pytest.approx(waited) != 0

    def test_waits_are_those_of_callers(self, app, exported, registry, clock, page):
        """Who refreshes or warms is no caller, nor is what a load's code asks for on his behalf."""

        @exported.memoize(timeout=5)
        def part() -> str:
            return "part"

        @app.get("/whole")
        @exported.cacher(timeout=20, refresh_margin=10)
        def whole() -> str:
            return part.sync()

        def waits() -> tuple[float, float]:
            exported.join()
            scrape = Scrape(registry)
            names = (name_of(whole), name_of(part))
            one, two = (scrape("aswr_waits_total", view=name) or 0.0 for name in names)
            return one, two

        client, desk = app.test_client(), desk_of(exported, app)
        desk.load("/whole", force=False, why="warm")
        clock.tick(6)
        exported.refresh("/whole")
        clock.tick(12)
        client.get("/whole")  # stale: renewed for nobody who waits
        assert waits() == (0, 0)
        with app.app_context():
            part.refresh()
        assert waits() == (0, 0)
        clock.tick(60)
        client.get("/whole")
        assert waits() == (1, 1)
        clock.tick(6)
        with app.app_context():
            part.sync()
        assert waits() == (1, 2)

    def test_loads_are_a_histogram(self, app, exported, registry, page):
        """Load times are counted in the classes of the tallies, cumulated, failed loads too."""
        client = app.test_client()
        client.get("/page/a")
        client.get("/page/broken")
        exported.join()
        scrape = Scrape(registry)
        bounds = [dict(labels)["le"] for name, labels in scrape.samples if name.endswith("_bucket")]
        assert bounds == [*map(str, BOUNDS), "+Inf"]
        counts = [scrape("aswr_load_seconds_bucket", view=page, le=bound) for bound in bounds]
        assert counts == sorted(counts)
        assert counts[-1] == scrape("aswr_load_seconds_count", view=page) == 2
        assert scrape("aswr_load_seconds_sum", view=page) == pytest.approx(
            exported.stats()["load_seconds"]
        )
        assert scrape("aswr_load_failures_total", view=page) == 1

    def test_passes_are_counted_by_class(self, app, exported, registry, page):
        """A pass is counted by a class of its reason, and no cookie's name becomes a label."""

        @app.get("/greeting")
        @exported.cacher(timeout=20)
        def greeting() -> str:
            return f"hello {request.cookies.get('who', request.cookies.get('also', 'you'))}"

        client = app.test_client()
        client.post("/page/a")
        app.test_client().get("/greeting")
        for cookie in ("who", "also"):
            visitor = app.test_client()
            visitor.set_cookie(cookie, "me")
            visitor.get("/greeting")
        scrape = Scrape(registry)
        assert scrape("aswr_passes_total", view=name_of(greeting), reason="reads") == 2
        assert not any("who" in value for _, labels in scrape.samples for _, value in labels)

    def test_memoized_functions_are_views_too(self, app, exported, registry):
        """A memoized function is counted under its own name."""

        @exported.memoize(timeout=20)
        def compute(number: int) -> int:
            return number

        with app.app_context():
            compute.sync(1)
            compute.sync(1)
        scrape = Scrape(registry)
        assert scrape("aswr_hits_total", view=name_of(compute), kind="fresh") == 1
        assert scrape("aswr_misses_total", view=name_of(compute)) == 1

    def test_purges_and_evictions(self, app, clock, registry):
        """A purge counts once, however much it concerns, and what had to make room is counted."""
        manager = CacheManager(app, clock=clock, max_bytes=65_536)
        prometheus(manager, registry)

        @app.get("/large/<int:number>")
        @manager.cacher(timeout=20)
        def large(number: int) -> str:
            return str(number) * 10_000

        client = app.test_client()
        for number in range(8):
            client.get(f"/large/{number}")
            client.get(f"/large/{number}")
        manager.invalidate("/large/7")
        manager.invalidate_tags("a", "b")
        scrape = Scrape(registry)
        assert scrape("aswr_purges_total") == 2
        assert scrape("aswr_evictions_total") == manager.stats()["evictions"] > 0
        manager.close()


class TestGauges:
    def test_memory(self, app, exported, registry, page):
        """Entries, their bytes and the limit are as the stats say."""
        app.test_client().get("/page/a")
        stats, scrape = exported.stats(), Scrape(registry)
        assert scrape("aswr_entries") == stats["entries"] == 1
        assert scrape("aswr_memory_bytes") == stats["bytes"] > 0
        assert scrape("aswr_memory_limit_bytes") == stats["max_bytes"]

    def test_loads_in_progress(self, app, exported, registry, gate: Gate, background):
        """A load in progress is a flight, and who waits for it waits."""

        @app.get("/slow")
        @exported.cacher(timeout=20)
        def slow() -> str:
            gate.hold()
            return "done"

        asked = background(lambda: app.test_client().get("/slow"))
        gate.await_arrival()
        scrape = Scrape(registry)
        assert (scrape("aswr_flights"), scrape("aswr_waiting")) == (1, 1)
        gate.open()
        asked.result()
        scrape = Scrape(registry)
        assert (scrape("aswr_flights"), scrape("aswr_waiting")) == (0, 0)

    def test_a_store_that_fails(self, app, clock, registry):
        """A store that fails opens the breaker once and is not reachable."""

        class Broken(aiocache.SimpleMemoryCache):
            async def get(self, *args: object, **options: object) -> object:
                raise ConnectionError("no store")

        manager = CacheManager(app, Broken(), clock=clock)
        prometheus(manager, registry)
        app.add_url_rule("/page", view_func=manager.cacher(timeout=20)(_page))
        assert Scrape(registry)("aswr_store_reachable") == 1
        app.test_client().get("/page")
        manager.join()
        scrape = Scrape(registry)
        assert scrape("aswr_store_reachable") == 0
        assert scrape("aswr_breaker_openings_total") == 1
        assert (scrape("aswr_store_errors_total") or 0) >= 1
        manager.close()

    def test_without_a_store_nothing_is_said_of_it(self, exported, registry, page):
        """An app whose cache is memory alone has no samples about a store."""
        about = re.compile("store|breaker|leases")
        assert not {name for name in Scrape(registry).names() if about.search(name)}


def _page() -> str:
    return "page"


class TestCardinality:
    def test_labels_are_views_and_classes(self, app, exported, registry, page, clock):
        """A hundred URLs, two hundred reasons, and there are as many series as with one."""

        @app.get("/read")
        @exported.cacher(timeout=20)
        def read() -> str:
            return request.cookies.get("session", "") + str(session.get("a"))

        client = app.test_client()
        client.get("/page/0?x=1")
        app.test_client().get("/read")
        before = Scrape(registry).samples.keys()
        for number in range(1, 100):
            client.get(f"/page/{number}?x={number}")
        assert Scrape(registry).samples.keys() == before

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            ("reads cookie session, header X-Tenant", "reads"),
            ("sends credentials", "reads"),
            ("writes session", "writes"),
            ("reads cookie a; writes session", "reads"),
            ("method", "method"),
            ("unless", "asked"),
            ("no-store", "asked"),
            ("closed", "off"),
            ("bypass", "off"),
            ("sets a cookie", "answer"),
            ("Cache-Control private", "answer"),
            ("Vary *", "answer"),
            ("reads over 32 inputs", "answer"),
            ("streams events", "answer"),
            ("answers one request alone", "answer"),
            ("an argument cannot be keyed", "argument"),
            ("whatever a later release says", "other"),
            ("status 404", "answer"),
            ("says no freshness", "answer"),
        ],
    )
    def test_reasons_have_classes(self, reason, kind):
        """A reason may name any input; its class is one of a few."""
        assert reason_class(reason) == kind
        assert kind in CLASSES

    @pytest.mark.parametrize("reason", REASONS)
    def test_no_reason_of_ours_is_another(self, reason):
        """Whatever reason the code can give for a pass has a class of its own."""
        assert reason_class(reason) != "other"


class TestNames:
    def test_names_follow_prometheus(self):
        """Names tell unit and kind as Prometheus wants it, and no two metrics share one."""
        families = [metric.family for metric in METRICS]
        assert len(set(families)) == len(families)
        for metric in METRICS:
            assert metric.family.startswith("aswr_")
            assert metric.family.endswith(metric.unit)
            assert not metric.family.endswith("_total")
            assert metric.help.endswith((".", "?")) or ":" in metric.help
            assert set(metric.labels) <= {"app", "view", "kind", "reason"}

    def test_every_metric_is_scraped(self, app, exported, registry, page):
        """Each metric of the table is a family of the scrape, with that kind and that text."""
        found = {family.name: family for family in Scrape(registry).families}
        for metric in METRICS:
            assert found[metric.family].type == metric.kind
            assert found[metric.family].documentation == metric.help


class TestRegistration:
    def test_the_default_is_the_global_registry(self, app, manager):
        """Without a registry it is prometheus_client's own, and the end takes all of it out."""
        end = prometheus(manager)
        assert Scrape(prometheus_client.REGISTRY)("aswr_entries") == 0
        end()
        end()
        families = {family.name for family in Scrape(prometheus_client.REGISTRY).families}
        assert not any(name.startswith("aswr") for name in families)

    def test_two_managers_share_a_registry(self, app, exported, registry, clock):
        """Two managers are one set of families, told apart by their apps' names."""
        other = CacheManager(Flask("other"), clock=clock)
        end = prometheus(other, registry)
        scrape = Scrape(registry)
        assert scrape("aswr_entries") == scrape("aswr_entries", app="other") == 0
        end()
        assert Scrape(registry)("aswr_entries", app="other") is None

    def test_two_apps_of_one_name_are_summed(self, app, exported, registry, page, clock):
        """Apps that nobody could tell apart are one series, not two of the same name."""
        twin = Flask("shop")
        exported.init_app(twin)
        view = app.view_functions["page"]
        twin.add_url_rule("/page/<name>", view_func=view)
        app.test_client().get("/page/a")
        twin.test_client().get("/page/a")
        scrape = Scrape(registry)
        assert scrape("aswr_misses_total", view=page) == 2
        assert scrape("aswr_load_seconds_count", view=page) == 2
        assert scrape("aswr_entries") == 2

    def test_once_is_enough(self, exported, registry):
        """Exporting a manager twice to one registry is an error that says so."""
        with pytest.raises(ValueError, match="call prometheus\\(manager\\) once"):
            prometheus(exported, registry)

    def test_a_manager_that_is_gone_takes_its_samples_with_it(self, registry):
        """A registry keeps no manager alive."""
        app = Flask("short")  # the manager holds it weakly
        manager = CacheManager(app)
        prometheus(manager, registry)
        assert Scrape(registry)("aswr_entries", app="short") == 0
        del app, manager
        gc.collect()
        assert Scrape(registry)("aswr_entries", app="short") is None

    def test_an_app_that_is_switched_off_counts_nothing(self, registry):
        """A disabled cache has no samples."""
        app = Flask("shop")
        app.config["ASWR_ENABLED"] = False
        prometheus(CacheManager(app), registry)
        assert Scrape(registry).names() == set()

    def test_the_folder_must_exist(self, manager, monkeypatch, tmp_path):
        """A folder of the processes' files that is not there is an error at start-up."""
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))
        with pytest.raises(ValueError, match="is no directory: make it"):
            prometheus(manager)

    def test_the_error_without_the_library_names_the_extra(self, manager, monkeypatch):
        """Without prometheus-client the error says what to install."""
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        with pytest.raises(ImportError, match=r"pip install 'aswr\[prometheus\]'"):
            prometheus(manager)


# Several processes. prometheus_client decides when it is imported, so each test is one.

START = """
import os, struct, sys, threading
from flask import Flask
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.parser import text_string_to_metric_families
from aswr import CacheManager
from aswr.metrics import prometheus

app = Flask("shop")
manager = CacheManager(app)
prometheus(manager)

@app.get("/page/<name>")
@manager.cacher(timeout=600)
def page(name):
    return name

def scrape(name, **labels):
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    text = generate_latest(registry).decode()
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

def await_(name, value, **labels):
    for _ in range(500):
        try:
            if scrape(name, **labels) == value:
                return
        except struct.error:  # prometheus_client reads a file that it has just made, and not sized
            pass
        threading.Event().wait(0.02)
    raise SystemExit(f"{name}{labels} is {scrape(name, **labels)}, not {value}")

def child(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}")
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    return pid
"""


def run(folder: Path, code: str) -> None:
    """Run a process whose metrics lie in a folder; it must end well and say nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


class TestProcesses:
    def test_what_is_counted_is_written_within_a_second_or_two(self, tmp_path):
        """A process's counters are in its files soon after they change, without a scrape."""
        run(tmp_path, """
client = app.test_client()
for _ in range(5):
    client.get("/page/a")
await_("aswr_hits_total", 4, kind="fresh")
await_("aswr_load_seconds_count", 1)
await_("aswr_entries", 1)
""")  # fmt: skip

    def test_what_a_process_counts_last_is_written_at_its_end(self, tmp_path):
        """A process that ends writes what it has counted since, after the drain, and at exit."""
        run(tmp_path, """
def work():
    client = app.test_client()
    for _ in range(5):
        client.get("/page/a")
pids = [child(work), child(work)]
assert scrape("aswr_hits_total") == 8, scrape("aswr_hits_total")
assert scrape("aswr_misses_total") == scrape("aswr_load_seconds_count") == 2
assert scrape("aswr_entries") == 2
for pid in pids:
    multiprocess.mark_process_dead(pid)
assert scrape("aswr_entries") == 0
assert scrape("aswr_hits_total") == 8
""")  # fmt: skip

    def test_closing_writes(self, tmp_path):
        """close() writes at once what was counted."""
        run(tmp_path, """
client = app.test_client()
client.get("/page/a")
client.get("/page/a")
manager.close()
assert scrape("aswr_hits_total") == 1
""")  # fmt: skip

    def test_hits_after_the_close_are_written_at_exit(self, tmp_path):
        """A closed cache goes on serving, and a process that exits then has written these hits."""
        run(tmp_path, """
def work():
    client = app.test_client()
    client.get("/page/a")
    manager.close()
    client.get("/page/a")
    client.get("/page/a")
child(work)
assert scrape("aswr_hits_total") == 2, scrape("aswr_hits_total")
""")  # fmt: skip

    def test_passes_alone_are_written(self, tmp_path):
        """A process that has loaded nothing, since everything passes, is heard of as well."""
        run(tmp_path, """
@app.post("/buy")
@manager.cacher(timeout=600)
def buy():
    return "bought"
app.test_client().post("/buy")
await_("aswr_passes_total", 1, reason="method")
""")  # fmt: skip

    def test_a_child_counts_from_nothing(self, tmp_path):
        """What the parent has counted before it forks is not counted again by its children."""
        run(tmp_path, """
client = app.test_client()
client.get("/page/a")
client.get("/page/a")
await_("aswr_hits_total", 1)
def work():
    own = app.test_client()
    own.get("/page/a")
    own.get("/page/a")
    own.get("/page/a")
child(work)
assert scrape("aswr_hits_total") == 3, scrape("aswr_hits_total")
client.get("/page/a")
await_("aswr_hits_total", 4)
assert scrape("aswr_misses_total") == 2
""")  # fmt: skip

    def test_a_fork_waits_until_nobody_writes(self, tmp_path):
        """A child that is forked while the parent writes inherits no lock as held for ever."""
        run(tmp_path, """
from prometheus_client import values
from aswr import metrics
client = app.test_client()
client.get("/page/a")
writer = metrics._writer()
over = threading.Event()
def write():
    while not over.is_set():
        writer._written.clear()
        writer.write()
thread = threading.Thread(target=write)
thread.start()
for _ in range(10):
    child(lambda: app.test_client().get("/page/b"))
over.set()
thread.join()
assert scrape("aswr_load_seconds_count") == 11
""")  # fmt: skip

    def test_close_and_start_again(self, tmp_path):
        """After a close and a new start it goes on where it was."""
        run(tmp_path, """
client = app.test_client()
client.get("/page/a")
manager.close()
client.get("/page/a")
manager.start()
client.get("/page/b")
await_("aswr_misses_total", 2)
await_("aswr_hits_total", 1)
""")  # fmt: skip

    def test_the_end_ends_it(self, tmp_path):
        """After the end nothing more is written, and the loop has no task of ours."""
        run(tmp_path, """
from aswr import metrics
others_app = Flask("other")
other = CacheManager(others_app)
end = prometheus(other)
end()
end()
client = app.test_client()
client.get("/page/a")
other.start()
writer = metrics._writer()
assert list(writer.managers) == [manager]
manager.close()
task = writer._task
for _ in range(500):
    if task.done():
        break
    threading.Event().wait(0.02)
assert task.done() and not task.cancelled()
other.close()
""")  # fmt: skip

    def test_what_an_app_had_goes_with_it(self, tmp_path):
        """An app that is gone has no entries any more, and what it counted stays."""
        run(tmp_path, """
import gc
app.test_client().get("/page/a")
def short_lived():
    other_app = Flask("other")
    other = CacheManager(other_app)
    prometheus(other)
    other_app.add_url_rule("/", "page", other.cacher(timeout=600)(lambda: "page"))
    other_app.test_client().get("/")
    await_("aswr_entries", 1, app="other")
    other.close()
short_lived()
gc.collect()
await_("aswr_entries", 0, app="other")
assert scrape("aswr_misses_total", app="other") == 1
assert scrape("aswr_entries", app="shop") == 1
""")  # fmt: skip

    def test_a_command_line_writes_nothing(self, tmp_path):
        """A process that looks on, and serves nobody, leaves no files behind."""
        run(tmp_path, """
manager.look_on()
app.test_client().get("/page/a")
app.test_client().post("/page/a")
manager.close()
""")  # fmt: skip
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_lost_is_said_once(self, tmp_path):
        """Where the files cannot be written it is said once of each kind, and requests go on."""
        run(tmp_path, """
import logging, shutil
said = []
class Said(logging.Handler):
    def emit(self, record):
        said.append(record)
logging.getLogger("aswr.metrics").addHandler(Said())
logging.getLogger("aswr").propagate = False
logging.getLogger("aswr.metrics").propagate = False
shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
writer = __import__("aswr.metrics").metrics._writer()
writer.write()
writer.write()
for page in "abc":
    assert app.test_client().get(f"/page/{page}").text == page
manager.close()
assert [record.levelname for record in said] == ["ERROR", "ERROR"], said
assert {record.getMessage().partition(" (")[0].split(": ")[1] for record in said} == {
    "counters", "load times"
}, said
assert {record.aswr_app for record in said} == {app.name}
""")  # fmt: skip

    def test_writes_that_take_turns(self, tmp_path):
        """Where one kind of write fails and another does not, it is said once all the same."""
        run(tmp_path, """
import logging
from aswr import metrics
said = []
class Said(logging.Handler):
    def emit(self, record):
        said.append(record)
logging.getLogger("aswr.metrics").addHandler(Said())
logging.getLogger("aswr.metrics").propagate = False
read = metrics.read
def broken(engines):
    raise OSError("no space left")
metrics.read = broken
writer = metrics._writer()
for page in "abc":
    app.test_client().get(f"/page/{page}")
    assert manager.join(5)
    writer.write()
assert len(said) == 1, said
metrics.read = read
writer.write()
metrics.read = broken
writer.write()
assert len(said) == 2, "it was well meanwhile"
metrics.read = read
manager.close()
""")  # fmt: skip


def test_a_hit_counts_nothing_anew(app, manager, registry, clock: Clock):
    """Exporting in one process subscribes to nothing: a hit costs what it did."""
    events = manager.site_of(app).engine.events
    prometheus(manager, registry)
    assert events.wanted == frozenset()
