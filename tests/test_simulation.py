"""What the simulation of a fleet must come to, whatever its figures."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from functools import cache
from heapq import heappop
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis.connection import Connection

from aswr.backplane import LIFE
from aswr.keys import ViewKey
from tests.benchmarks.simulated import Alone, Flight, Leasing, Sharing
from tests.benchmarks.wire import QUICK, START, Setup, sealed, sent, sizes

SCRIPT = Path(__file__).parent / "benchmarks" / "simulate_fleet.py"
LARGE = replace(QUICK, most_told=QUICK.workers - 1)  # more workers than are told of everything


@cache
def ran(make: type[Alone], setup: Setup = QUICK) -> Alone:
    fleet = make(setup)
    fleet.run()
    return fleet


def per_refresh(fleet: Alone, key: int = 0) -> float:
    """Loads per refresh of a key, by default the hottest."""
    return fleet.loads[key] / fleet.refreshes[key]


@pytest.mark.parametrize("setup", [QUICK, LARGE], ids=["small", "large"])
def test_with_a_lease_there_is_one_load_per_key_and_refresh(setup):
    """However many workers use a key, and whoever is told, one of them loads each time."""
    fleet = ran(Leasing, setup)
    assert sum(fleet.loads) > 300
    assert fleet.loads == fleet.refreshes


def test_alone_every_worker_loads():
    """Without a store there are as many loads per refresh as workers that use the key."""
    assert QUICK.workers <= per_refresh(ran(Alone)) < 1.3 * QUICK.workers


def test_without_a_lease_all_load_that_come_while_one_loads():
    """With a shared store alone, they are those that ask for a key until the first load is over."""
    share = 1 / sum(rank**-QUICK.zipf for rank in range(1, QUICK.keys + 1))
    asked = QUICK.rate * share * QUICK.load / QUICK.workers  # of one worker, during a load
    expected = QUICK.workers * (1 - math.exp(-asked))
    assert 0.75 * expected < per_refresh(ran(Sharing)) < 1.25 * expected
    assert sum(ran(Leasing).loads) < sum(ran(Sharing).loads) < sum(ran(Alone).loads)


def test_a_lease_is_kept_through_a_load_that_takes_longer():
    """A leader renews his lease, so that a load of several lease times is one load."""
    fleet = ran(Leasing, replace(QUICK, load=3.0, lease=1.0, propagation=0.2, timeout=20))
    assert fleet.counted["RENEW"] > 0
    assert fleet.loads == fleet.refreshes


@pytest.mark.parametrize("setup", [QUICK, LARGE], ids=["small", "large"])
def test_who_follows_a_load_is_told_of_its_end(setup):
    """News of a stored entry comes before the poll: nobody who waits asks in vain."""
    fleet = ran(Leasing, replace(setup, load=0.4))
    assert fleet.counted["told"] > 100
    assert fleet.counted["polls"] == 0


def test_a_load_costs_a_claim_a_number_and_a_store():
    """Per load one number is drawn and one entry stored, and every worker gets one message."""
    counted = ran(Leasing).counted
    ends = QUICK.load * 2 * counted["loads"] / QUICK.seconds  # of loads only begin or end counts
    assert abs(counted["NUMBER"] - counted["loads"]) < ends
    assert abs(counted["STORE"] - counted["loads"]) < ends
    assert counted["message"] == QUICK.workers * counted["STORE"]


def test_in_a_large_fleet_news_that_nobody_waits_for_are_not_told():
    """Where no second worker comes while one loads, there are no messages; else there are some."""
    at_once = replace(QUICK, load=0.0, rtt=1e-9)
    assert ran(Leasing, at_once).counted["message"] > 0
    assert ran(Leasing, replace(at_once, most_told=0)).counted["message"] == 0
    told = ran(Leasing, LARGE).counted["message"]
    assert 0 < told < 0.75 * ran(Leasing).counted["message"]


def test_in_a_large_fleet_news_of_a_load_that_was_waited_for_are_told_once():
    """Whoever waits makes the end of that load known, for the time of a lease, and no other's."""
    fleet = Leasing(LARGE)
    fleet.now = fleet.begins
    old, new = (SimpleNamespace(born=born, fresh_until=0.0, error_until=1e10) for born in (1, 2))
    first, second = Flight(0, 0), Flight(1, 0)
    told = []
    for waits, later in [(True, 0.0), (False, 0.0), (True, fleet.lease)]:
        fleet.stored[0] = old
        fleet._claimed(first, 1, 1)
        if waits:
            fleet._claimed(second, 1, 1)
        fleet.now += later
        fleet._store(first, new)
        told.append(fleet.counted["message"] // LARGE.workers)
    assert told == [1, 1, 1]


def test_in_a_large_fleet_the_end_of_what_is_fresh_is_told():
    """What others may serve without asking makes way everywhere."""
    fleet = Leasing(LARGE)
    fleet.now = fleet.begins
    for born, ends in enumerate([fleet.now, fleet.now + 1, fleet.now + 1]):
        entry = SimpleNamespace(born=born, fresh_until=ends, error_until=1e10)
        fleet._store(Flight(0, 0), entry)
    assert fleet.counted["message"] == LARGE.workers


def test_a_late_leader_takes_what_is_newer():
    """Where something newer was stored meanwhile, nobody is told, and the leader looks at it."""
    fleet = Leasing(QUICK)
    fleet._events.clear()  # no beats
    newer = SimpleNamespace(born=2, fresh_until=1e10, error_until=1e10)
    fleet.stored[0], fleet.now = newer, fleet.begins
    fleet.held[0][0] = older = SimpleNamespace(born=1)
    fleet.used[0].add(0)
    fleet._store(Flight(0, 0), older)
    while fleet._events:
        fleet.now, _, call, args = heappop(fleet._events)
        call(*args)
    assert fleet.held[0][0] is newer
    assert fleet.counted == {"LOOK": 1, "LOOK+": 1}


def test_news_change_nothing_for_who_has_them():
    """Who sent them goes on, and who has what is told, or something newer, keeps it."""
    fleet = Leasing(QUICK)
    fleet.held[0].update(
        {worker: SimpleNamespace(born=born) for worker, born in enumerate([2, 2, 1, 3])}
    )
    fleet.consult(own := Flight(0, 0))
    fleet._heard(0, 0, 2)
    assert list(fleet.held[0]) == [0, 1, 3]
    assert not own.told


def test_who_follows_his_own_process_is_told_without_news():
    """A flight that came while its own process stored asks again when that is done."""
    fleet = Leasing(LARGE)
    fleet.consult(Flight(0, 0))
    asked = fleet.counted.copy()
    fleet.now = fleet.begins
    fleet._saved(0, 0)
    assert fleet.following[0][0].told
    assert fleet.counted - asked == {"told": 1}


def test_a_worker_says_that_it_is_there_every_few_seconds():
    """Of the beats only those carry its name that come so long after the last one that did."""
    counted = ran(Leasing).counted
    longest = LIFE + 0.4 * QUICK.propagation
    least = QUICK.workers * QUICK.seconds / longest
    assert least - QUICK.workers <= counted["SYNC+"] <= least * longest / LIFE + QUICK.workers
    assert counted["SYNC"] > 5 * counted["SYNC+"]


@pytest.mark.parametrize("make", [Leasing, Sharing, Alone])
def test_a_seed_gives_the_same_figures(make):
    """The same seed, the same counts of everything; another seed, others."""
    again = make(QUICK)
    again.run()
    assert (again.counted, again.loads) == (ran(make).counted, ran(make).loads)
    assert ran(make, replace(QUICK, seed=2)).counted != again.counted


def test_bytes_are_counted_as_redis_packs_them():
    """A command has as many bytes as redis-py would send."""
    connection = Connection()
    words = ("EVALSHA", "0" * 40, 1, "ключ", b"\0" * 1000, -1)
    assert sent(*words) == len(b"".join(connection.pack_command(*words)))
    wire = sizes(QUICK)
    assert wire["SYNC"][0] < wire["SYNC"][0] + wire["SYNC+"][0] < 2 * wire["SYNC"][0]
    assert (
        wire["STORE"][0]
        > wire["SET"][0]
        > len(sealed(QUICK, ViewKey("shop.item", "", "/", "", "", ()), "name", int(START * 1e6)))
    )


def test_it_runs_as_the_readme_says(tmp_path):
    """The script prints its seed and the figures, and writes them as JSON."""
    out = tmp_path / "figures.json"
    asked = [sys.executable, str(SCRIPT), "--quick", "--keys", "50", "--json", str(out)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=50)
    assert "seed 1" in done.stdout
    assert "loads per key and refresh" in done.stdout
    told = json.loads(out.read_text())
    assert told["setup"]["keys"] == 50
    assert told["fleets"]["fleet"]["loads per key and refresh"] == 1
