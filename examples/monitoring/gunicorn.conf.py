"""gunicorn --config examples/monitoring/gunicorn.conf.py --chdir examples/monitoring shop:app

Four workers, whose metrics are one: each writes what it counts to a folder, and whichever of them
is scraped reads it all.
"""

import os
import tempfile
from pathlib import Path

bind = "127.0.0.1:8000"
workers = 4
worker_class = "gthread"
threads = 8
control_socket_disable = True  # it would be in the home directory, with a thread in the master

# prometheus_client looks for it when it is imported, so it is set before the app is.
FOLDER = Path(
    os.environ.setdefault(
        "PROMETHEUS_MULTIPROC_DIR", str(Path(tempfile.gettempdir(), "shop-metrics"))
    )
)
FOLDER.mkdir(parents=True, exist_ok=True)


def on_starting(server):  # type: ignore[no-untyped-def]
    """The counters of an earlier run would be added to those of this one."""
    for left in FOLDER.glob("*.db"):
        left.unlink()


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.app.callable.extensions["aswr"].start()


def child_exit(server, worker):  # type: ignore[no-untyped-def]
    """What a dead worker has counted stays; what it had in memory is no longer there."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
