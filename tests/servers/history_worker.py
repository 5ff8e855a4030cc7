"""One process of a fleet whose history is kept: an app, its cache, and threads that use it.

Run as a script with one argument, JSON (`Task`). What its threads do, and in which order, the seed
decides alone; each note in `history` is of what came of it. Processes share a database, too: a file
for each key, whose size is the version of its value.
"""

import asyncio
import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from flask import Flask
from history import (
    LASTS,
    MARGIN,
    Alive,
    Begin,
    Bounds,
    End,
    Purged,
    Reach,
    Read,
    Recorder,
    Refreshed,
    Stall,
    Task,
    now,
)

from aswr import CacheManager

THREADS = 3
KEYS = tuple(f"{kind}{number}" for kind in "abmn" for number in range(3))
LOOK = 0.02  # seconds between looks at the state of the store, and at the clock
STALL = 0.06  # seconds without a look that are noted
PATIENCE = 30.0
# How often a thread does what. Purges of many keys are rare: they hide that others were lost.
WEIGHTS = {
    "read": 880, "change": 40, "change_tag": 2, "change_all": 0.5, "soften": 14, "soften_tag": 1,
    "soften_all": 0.3, "refresh": 10, "drift": 20,
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a memoized function returns."""

    version: int
    load: str


class Database:
    """The truth, outside of Redis: any process, any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self, key: str) -> int:
        path = self._folder / key
        return path.stat().st_size if path.exists() else 0

    def change(self, key: str) -> int:
        """Give a key a new value; a version that is not older than that."""
        file = os.open(self._folder / key, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, b"x")
            return os.fstat(file).st_size
        finally:
            os.close(file)


def tag_of(key: str) -> str:
    return f"t{int(key[1]) % 2}"


class Worker:
    """An app with four kinds of keys: views and functions, that last long and that do not."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.notes = Recorder(Path(task.folder), task.name)
        self.database = Database(Path(task.folder) / "database")
        self._numbers = count()
        self.app = Flask("history")
        bounds = Bounds()
        self.app.config.update(
            ASWR_PARTITION=task.partition, ASWR_LEASE=bounds.lease,
            ASWR_PROPAGATION=bounds.propagation, ASWR_STORE_TIMEOUT=bounds.store_timeout,
        )  # fmt: skip
        self.manager = CacheManager(self.app, cache=task.url)
        self._define()

    def _define(self) -> None:
        app, manager = self.app, self.manager

        def tags(response: Any) -> list[str]:
            return [tag_of(response.json["key"])]

        @app.get("/a/<key>")
        @manager.cacher(LASTS["a"], MARGIN["a"], tags=tags)
        async def a(key: str) -> dict[str, Any]:
            return await self._aload(key)

        @app.get("/b/<key>")
        @manager.cacher(LASTS["b"], MARGIN["b"], tags=tags)
        def b(key: str) -> dict[str, Any]:
            return self._load(key)

        @manager.memoize(LASTS["m"], MARGIN["m"], tags=lambda answer: [tag_of(answer.load)])
        def m(key: str) -> Answer:
            answer = self._load(key)
            return Answer(answer["version"], answer["load"])

        @manager.memoize(LASTS["n"], MARGIN["n"], tags=lambda answer: [tag_of(answer.load)])
        async def n(key: str) -> Answer:
            answer = await self._aload(key)
            return Answer(answer["version"], answer["load"])

        self._functions: dict[str, Any] = {"m": m, "n": n}

    # Loads.

    def _load(self, key: str) -> dict[str, Any]:
        with self._loading(key) as (answer, seconds):
            time.sleep(seconds)
        return answer

    async def _aload(self, key: str) -> dict[str, Any]:
        with self._loading(key) as (answer, seconds):
            await asyncio.sleep(seconds)
        return answer

    @contextmanager
    def _loading(self, key: str) -> Iterator[tuple[dict[str, Any], float]]:
        at, name = now(), self.task.name
        load = f"{key}-{name}-{next(self._numbers)}"
        version = self.database.version(key)
        self.notes.note(Begin(name, at, key, version, load))
        seconds = random.Random(f"{self.task.seed}/{load}").uniform(0.0, Bounds.load)
        yield {"key": key, "version": version, "load": load}, seconds
        self.notes.note(End(name, now(), load))

    # What a thread does.

    def read(self, dice: random.Random) -> None:
        key = dice.choice(KEYS)
        begin, version, load, verdict, error = now(), -1, "", "", ""
        try:
            if key[0] in self._functions:
                answer = self._functions[key[0]].sync(key)
                version, load = answer.version, answer.load
            else:
                response = self.app.test_client().get(f"/{key[0]}/{key}")
                verdict = response.headers.get("Cache-Status", "")
                if response.status_code == 200:
                    version, load = response.json["version"], response.json["load"]
                else:
                    error = response.status
        except Exception as raised:
            error = repr(raised)
        self.notes.note(Read(self.task.name, begin, now(), key, version, load, verdict, error))

    def change(self, dice: random.Random) -> None:
        key = dice.choice(KEYS)
        self._purge("change", [key], lambda: self._invalidate(key, False))

    def change_tag(self, dice: random.Random) -> None:
        tag = dice.choice(["t0", "t1"])
        keys = [key for key in KEYS if tag_of(key) == tag]
        self._purge(tag, keys, lambda: self.manager.invalidate_tags(tag))

    def change_all(self, dice: random.Random) -> None:
        self._purge("all", list(KEYS), self.manager.clear)

    def soften(self, dice: random.Random) -> None:
        key = dice.choice([key for key in KEYS if key[0] not in self._functions])
        self._purge("soften", [key], lambda: self._invalidate(key, True), soft=True)

    def soften_tag(self, dice: random.Random) -> None:
        tag = dice.choice(["t0", "t1"])
        keys = [key for key in KEYS if tag_of(key) == tag]
        purge = self.manager.invalidate_tags
        self._purge(tag, keys, lambda: purge(tag, stale=True), soft=True)

    def soften_all(self, dice: random.Random) -> None:
        clear = self.manager.clear
        self._purge("all", list(KEYS), lambda: clear(stale=True), soft=True)

    def drift(self, dice: random.Random) -> None:
        """What changes without a purge may be served old, but not after it was served new."""
        self.database.change(dice.choice(KEYS))

    def _invalidate(self, key: str, soft: bool) -> bool:
        if key[0] in self._functions:
            return bool(self._functions[key[0]].invalidate(key))
        return self.manager.invalidate(f"/{key[0]}/{key}", stale=soft)

    def _purge(
        self, how: str, keys: list[str], purge: Callable[[], bool], soft: bool = False
    ) -> None:
        versions = {key: self.database.change(key) for key in keys}
        begin, told, error = now(), False, ""
        try:
            told = purge()
        except Exception as raised:
            error = repr(raised)
        self.notes.note(Purged(self.task.name, begin, now(), how, versions, soft, told, error))

    def refresh(self, dice: random.Random) -> None:
        key = dice.choice(KEYS)
        begin, error = now(), ""
        try:
            if key[0] in self._functions:
                self._functions[key[0]].refresh(key)
            else:
                self.manager.refresh(f"/{key[0]}/{key}")
        except Exception as raised:
            error = repr(raised)
        self.notes.note(Refreshed(self.task.name, begin, now(), key, error))

    def _act(self, number: int) -> None:
        dice = random.Random(f"{self.task.seed}/{number}")
        names, weights = zip(*WEIGHTS.items(), strict=True)
        while now() < self.task.until:
            getattr(self, dice.choices(names, weights)[0])(random.Random(dice.random()))
            time.sleep(dice.uniform(0.0, 0.06))

    # Its life.

    def _look(self) -> None:
        up, looked, name = False, now(), self.task.name
        while not self._over.is_set():
            time.sleep(LOOK)
            at = now()
            if at - looked > STALL:
                self.notes.note(Stall(name, looked, at))
            looked = at
            is_up = bool(self.manager.stats().get("store_reachable"))
            if is_up != up:
                self.notes.note(Reach(name, at, is_up))
            up = is_up

    def run(self) -> int:
        """Work until the time is up; the exit code."""
        self._over = threading.Event()
        self.notes.note(Alive(self.task.name, now()))
        looks = threading.Thread(target=self._look, daemon=True)
        looks.start()
        threads = [
            threading.Thread(target=self._act, args=(number,), daemon=True)
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, self.task.until - now()) + PATIENCE)
        stuck = [thread for thread in threads if thread.is_alive()]
        self._over.set()
        looks.join(PATIENCE)
        self.notes.note(Alive(self.task.name, now(), ends=True))
        self.manager.close(timeout=1.0)
        if stuck:
            print(f"{len(stuck)} threads wait for ever", file=sys.stderr)
        return len(stuck)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, filename=sys.argv[2], format="%(asctime)s %(message)s")
    sys.exit(Worker(Task(**json.loads(sys.argv[1]))).run())
