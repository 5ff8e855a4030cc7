"""A shop that can be watched: /metrics for Prometheus, with aswr's metrics among them.

    pip install 'aswr[prometheus]' gunicorn
    gunicorn --config examples/monitoring/gunicorn.conf.py --chdir examples/monitoring shop:app

Beside it lie what Prometheus scrapes and alerts on, and a dashboard for Grafana.
"""

import os
import time

from flask import Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from aswr import CacheManager
from aswr.metrics import prometheus

app = Flask(__name__)
manager = CacheManager(app)
prometheus(manager)


@manager.memoize(timeout=60)
def price(article: str) -> float:
    time.sleep(0.1)
    return 10.0 * len(article)


@app.get("/article/<name>")
@manager.cacher(timeout=20, refresh_margin=10)
def article(name: str) -> str:
    greeting = f"Hello, {request.cookies['name']}! " if "name" in request.cookies else ""
    return f"{greeting}{name} costs {price.sync(name)}"


@app.get("/metrics")
def metrics() -> Response:
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # of all workers
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
