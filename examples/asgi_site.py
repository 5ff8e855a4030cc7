"""A Flask app within an ASGI site, beside endpoints of Starlette: FastAPI is the same.

    pip install uvicorn starlette
    uvicorn --app-dir examples asgi_site:site

The two share one cache, one start and one stop:

    curl -i 127.0.0.1:8000/legacy/report        Flask's, answered before Flask exists
    curl -i 127.0.0.1:8000/legacy/old           Flask's, not cached, on a thread
    curl -i 127.0.0.1:8000/rates/eur            Starlette's, from the same cache
    curl -i -X POST 127.0.0.1:8000/publish      Starlette purges what Flask serves
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from aswr import CacheManager

app = Flask(__name__)
app.config["ASWR_BASE_URL"] = "http://localhost/legacy"  # jobs and purges need the mount, too
manager = CacheManager(app)


@manager.memoize(timeout=60)
def rate(currency: str) -> float:
    """Half a second of work that does not know about asyncio."""
    time.sleep(0.5)
    return len(currency) / 4


@app.get("/report")
@manager.cacher(timeout=60, public=True, tags=("reports",))
async def report() -> dict[str, object]:
    return {"eur": await rate("eur"), "computed": time.time()}


@app.get("/old")
def old() -> str:
    return "as it always was\n"


manager.schedule_periodic_refresh("/report", interval=30)


async def rates(request: Request) -> JSONResponse:
    currency = request.path_params["currency"]
    return JSONResponse({currency: await rate(currency)})


async def publish(request: Request) -> JSONResponse:
    return JSONResponse({"everybody_knows": await manager.ainvalidate_tags("reports")})


@asynccontextmanager
async def lifespan(site: Starlette) -> AsyncIterator[None]:
    # A mounted app hears nothing of the server's start and stop.
    await asyncio.to_thread(manager.start)
    yield
    await asyncio.to_thread(manager.close)


site = Starlette(  # FastAPI(lifespan=lifespan), and site.mount("/legacy", manager.asgi())
    routes=[
        Route("/rates/{currency:str}", rates),
        Route("/publish", publish, methods=["POST"]),
        Mount("/legacy", manager.asgi()),
    ],
    lifespan=lifespan,
)
