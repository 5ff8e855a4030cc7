"""What an uncached async view costs with ``ASWR_RUN_ASYNC_VIEWS``, and under plain Flask.

``python tests/benchmarks/run_async.py``: microseconds through ``app.wsgi_app``, and their ratio.
"""

import sys
from pathlib import Path
from statistics import median

from asgiref.sync import sync_to_async
from flask import Flask

sys.path.insert(0, str(Path(__file__).parents[1]))  # not the root: what is installed is measured

from benchmarks.inprocess import BODY, answer, gets
from benchmarks.pace import in_turn, ratio

from aswr import CacheManager


def shop(name: str) -> Flask:
    """An app of views that nobody caches."""
    app = Flask(name)

    @app.route("/async-view")
    async def view() -> str:
        return BODY

    @app.route("/that-uses-sync_to_async")
    async def back() -> str:
        return await sync_to_async(str)(BODY)

    return app


def main() -> None:
    plain, ours = shop("plain"), shop("ours")
    ours.config["ASWR_RUN_ASYNC_VIEWS"] = True
    manager = CacheManager(ours)
    for path in ("/async-view", "/that-uses-sync_to_async"):
        assert answer(plain, path)[1] == answer(ours, path)[1] == BODY.encode()
        found = in_turn({app.name: gets(app, lambda path=path: path) for app in (plain, ours)})
        before, after = (median(found[app.name]) for app in (plain, ours))
        share = ratio(found["ours"], found["plain"])
        print(f"{path:26} {before:6.1f} -> {after:6.1f} µs  {share:.2f} x")
    manager.close()


if __name__ == "__main__":
    main()
