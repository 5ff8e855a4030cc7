"""The seed's example: a ten-second computation behind a web page, and no visitor who waits for it.

    flask --app examples/delta_positions run

The first answer takes ten seconds, for the job that starts with the server and for whoever asks
meanwhile. From then on every answer is stored, and renewed every ten seconds in the background.
"""

import asyncio
import time

from flask import Flask

from aswr import CacheManager

app = Flask(__name__)
manager = CacheManager(app)


def compute_delta_positions() -> dict[str, object]:
    """Ten seconds of work that does not know about asyncio."""
    time.sleep(10)
    return {"computed_at": time.strftime("%H:%M:%S"), "delta_positions": [0.25, -0.5, 1.0]}


@app.route("/delta_positions")
@manager.cacher(timeout=20, refresh_margin=10)
async def delta_positions() -> dict[str, object]:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, compute_delta_positions)


manager.schedule_periodic_refresh(
    "/delta_positions", interval=10, compute_func=compute_delta_positions
)

asgi_app = manager.asgi()  # for uvicorn, granian, hypercorn: delta_positions:asgi_app

if __name__ == "__main__":
    app.run()
