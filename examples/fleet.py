"""Twenty hosts, one cache: Redis behind the memory of every worker, and one load for all of them.

    pip install 'aswr[redis]'
    REDIS_URL=redis://localhost:6379 flask --app examples/fleet run --port 5000
    REDIS_URL=redis://localhost:6379 flask --app examples/fleet run --port 5001

Ask both for <http://127.0.0.1:5000/report>: the first answer takes three seconds, at whichever it
is asked for, and the other one has it at once. Publish, and both have a new one:

    curl -X POST 127.0.0.1:5000/publish

Behind Sentinels or on a Cluster, give a factory of an aiocache cache with the client set:

    REDIS_SENTINELS=host1:26379,host2:26379 REDIS_SERVICE=mymaster flask --app examples/fleet run
    REDIS_CLUSTER=host1:7000,host2:7000 flask --app examples/fleet run
"""

import os
import time

import aiocache
from flask import Flask
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import Sentinel

from aswr import CacheManager


def nodes(text: str) -> list[tuple[str, int]]:
    """``host:port,host:port`` as pairs."""
    pairs = (node.rsplit(":", 1) for node in text.split(","))
    return [(host, int(port)) for host, port in pairs]


def behind_sentinels() -> aiocache.RedisCache:
    """Whoever the sentinels name as the master, and its successor after a failover."""
    sentinel = Sentinel(nodes(os.environ["REDIS_SENTINELS"]), socket_timeout=0.25, protocol=2)
    cache = aiocache.RedisCache()
    cache.client = sentinel.master_for(os.environ.get("REDIS_SERVICE", "mymaster"))
    return cache


def on_a_cluster() -> aiocache.RedisCache:
    """A Redis Cluster: entries are spread over its nodes."""
    startup = [ClusterNode(host, port) for host, port in nodes(os.environ["REDIS_CLUSTER"])]
    cache = aiocache.RedisCache()
    cache.client = RedisCluster(startup_nodes=startup, protocol=2)
    return cache


if "REDIS_SENTINELS" in os.environ:
    cache = behind_sentinels
elif "REDIS_CLUSTER" in os.environ:
    cache = on_a_cluster
else:
    cache = os.environ.get("REDIS_URL", "redis://localhost:6379")

app = Flask(__name__)
manager = CacheManager(app, cache=cache)


@app.route("/report")
@manager.cacher(timeout=60, tags=("reports",))
def report() -> dict[str, object]:
    time.sleep(3)
    return {"computed_at": time.strftime("%H:%M:%S"), "by": os.getpid()}


@app.post("/publish")
def publish() -> dict[str, bool]:
    # False where Redis could not be told: it will be, as soon as it answers.
    return {"everybody_knows": manager.invalidate_tags("reports")}


if __name__ == "__main__":
    app.run()
