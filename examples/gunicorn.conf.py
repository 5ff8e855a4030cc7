"""gunicorn --chdir examples --config examples/gunicorn.conf.py delta_positions:app

The one line that jobs need under gunicorn: without it they start with the first request.
"""

bind = "127.0.0.1:8000"
worker_class = "gthread"
threads = 8


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.app.callable.extensions["aswr"].start()
