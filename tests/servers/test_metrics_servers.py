"""Four gunicorn workers, one set of metrics: the example as its configuration starts it."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .harness import Answer, Kind, Server, wait_until

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "monitoring"
WORKERS = 4
SOON = 10.0  # seconds that a shared machine may take for what takes two

ARGUMENTS = (
    "-m", "gunicorn", "--chdir", str(EXAMPLE), "-c", str(EXAMPLE / "gunicorn.conf.py"),
    "-b", "127.0.0.1:{port}",
)  # fmt: skip
KINDS = [
    Kind("gunicorn", (*ARGUMENTS, "shop:app"), needs=("gunicorn",)),
    Kind("gunicorn-preload", (*ARGUMENTS, "--preload", "shop:app"), needs=("gunicorn",)),
    Kind("gunicorn-sync", (*ARGUMENTS, "-k", "sync", "--threads", "1", "shop:app")),
]


class Shop:
    """The example, and what its clients were told in ``Cache-Status``: that is the truth."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.told: Counter[str] = Counter()

    def ask(self, paths: list[str], method: str = "GET", **headers: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda p: self.server.send(method, p, headers=headers), paths)
            self.told.update(map(kind_of, answers))

    def scrape(self) -> Callable[..., float]:
        """What one worker says of all: sums over labels that are not given."""
        answer = self.server.get("/metrics")
        if answer.status == 500:  # prometheus_client read a file just made, and not sized yet
            answer = self.server.get("/metrics")
        assert answer.status == 200
        families = list(text_string_to_metric_families(answer.body.decode()))
        samples = [sample for family in families for sample in family.samples]
        places = [(sample.name, *sorted(sample.labels.items())) for sample in samples]
        assert len(set(places)) == len(places), "a series is there twice"

        def value(name: str, **labels: str) -> float:
            return sum(
                sample.value
                for sample in samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )

        return value

    def counted(self) -> Counter[str]:
        value = self.scrape()
        view = {"view": "shop:article"}
        return +Counter(
            {
                "fresh": int(value("aswr_hits_total", kind="fresh", **view)),
                "stale": int(value("aswr_hits_total", kind="stale", **view)),
                "miss": int(value("aswr_misses_total", **view)),
                "pass": int(value("aswr_passes_total", **view)),
            }
        )

    def await_truth(self) -> None:
        """Wait until what is scraped is what clients were told."""
        wait_until(
            lambda: self.counted() == +self.told,
            SOON,
            lambda: f"counted {self.counted()}, told {self.told}\n{self.server.output}",
        )

    def workers(self) -> set[int]:
        """The processes that have written what they counted, dead ones too."""
        return {int(path.stem.rpartition("_")[2]) for path in self.folder.glob("counter_*.db")}

    def living(self) -> set[int]:
        return {pid for pid in self.workers() if Path("/proc", str(pid)).exists()}


def kind_of(answer: Answer) -> str:
    status = answer.cache_status
    if "; hit" in status:
        return "stale" if "revalidating" in status else "fresh"
    return "pass" if "fwd=bypass" in status or "fwd=method" in status else "miss"


@pytest.fixture(params=KINDS, ids=str)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"of an earlier run")
    # prometheus_client and gunicorn leave files and sockets to the interpreter at a worker's end.
    quiet = "default,ignore:unclosed:ResourceWarning"
    env = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONWARNINGS": quiet}
    with Server(request.param, tmp_path, **env) as server:
        yield Shop(server, folder)


def test_workers_are_summed(shop: Shop) -> None:
    """What is scraped of any worker is the sum of what all did: no hit is lost or counted twice."""
    shop.ask([f"/article/{number % 5}" for number in range(200)])
    shop.ask(["/article/0"] * 20, Cookie="name=ann")
    assert sum(shop.told.values()) == 220
    assert {"fresh", "miss", "pass"} <= set(shop.told)
    shop.await_truth()
    value = shop.scrape()
    loads = value("aswr_loads_total", view="shop:article")
    assert value("aswr_load_seconds_count", view="shop:article") == loads
    assert value("aswr_load_seconds_bucket", view="shop:article", le="+Inf") == loads
    assert value("aswr_load_seconds_bucket", view="shop:article", le="0.05") == 0
    assert value("aswr_passes_total", reason="reads") == 20
    assert value("aswr_hits_total", view="shop:price") > 0
    # A note and two variants of it may lie in a worker, and a price, of each of five articles.
    assert 0 < value("aswr_entries") <= WORKERS * 5 * 4
    assert value("aswr_memory_limit_bytes") % len(shop.living()) == 0


def test_what_a_dead_worker_counted_stays(shop: Shop) -> None:
    """A worker that ends writes what it counted last; its counters stay, its memory does not."""
    shop.ask([f"/article/{number % 5}" for number in range(200)])
    shop.await_truth()
    held = shop.scrape()("aswr_entries")
    for _ in range(2):
        shop.ask(["/article/0"] * 50)  # of which nothing may be in the files yet
        before = shop.living()
        ending = min(before)
        os.kill(ending, signal.SIGTERM)
        wait_until(
            lambda pid=ending: not list(shop.folder.glob(f"gauge_live*_{pid}.db")),
            SOON,
            lambda: f"no child_exit\n{shop.server.output}",
        )
        shop.await_truth()
    assert shop.scrape()("aswr_entries") < held
    shop.ask([f"/article/{number % 5}" for number in range(100)])
    shop.await_truth()


def test_a_killed_worker_loses_a_second_at_most(shop: Shop) -> None:
    """What was scraped once of a worker that is then killed is scraped for ever after."""
    shop.ask([f"/article/{number % 5}" for number in range(100)])
    shop.await_truth()
    os.kill(min(shop.living()), signal.SIGKILL)
    shop.ask([f"/article/{number % 5}" for number in range(100)])
    shop.await_truth()
