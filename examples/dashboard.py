"""A data dashboard: slow functions in plain Python, and a page of them for which nobody waits.

    flask --app examples/dashboard run

Open <http://127.0.0.1:5000/>. The page is computed every five seconds, whoever looks; its three
series are queried at the same time, and once for all that is made of them: charts, the risk, and
the numbers alone:

    curl -i 127.0.0.1:5000/series/copper
"""

import asyncio
import itertools
import random
import statistics
import time

from flask import Flask, render_template_string

from aswr import CacheManager

app = Flask(__name__)
manager = CacheManager(app)

METALS = ("copper", "nickel", "zinc")
Series = list[float]


@manager.memoize(timeout=4)  # shorter than the page's interval: each page has new numbers
def series(metal: str) -> Series:
    """Half a second for the query, then the last 200 prices."""
    time.sleep(0.5)
    chance = random.Random(f"{metal} {int(time.time()) // 5}")
    prices = [100.0]
    for _ in range(199):
        prices.append(prices[-1] * (1 + chance.gauss(0, 0.01)))
    return prices


@manager.memoize(timeout=60)  # of numbers that are its key: the same for ever
def value_at_risk(prices: tuple[float, ...]) -> float:
    """The loss, in percent over 20 steps, that 5 of 100 resampled futures exceed."""
    changes = [b / a for a, b in itertools.pairwise(prices)]
    chance = random.Random(1)
    futures = []
    for _ in range(2000):
        value = 1.0
        for change in chance.choices(changes, k=20):
            value *= change
        futures.append(value)
    return 100 * (1 - statistics.quantiles(futures, n=20)[0])


def line(prices: Series) -> str:
    """The points of an SVG polyline, 200 wide and 60 high."""
    low, high = min(prices), max(prices)
    heights = (60 * (high - price) / (high - low) for price in prices)
    return " ".join(f"{x},{y:.1f}" for x, y in enumerate(heights))


def bars(prices: Series) -> list[int]:
    """How many of the changes fall into each of twenty classes of 0.3 percent."""
    counts = [0] * 20
    for before, after in itertools.pairwise(prices):
        counts[max(0, min(19, int((after / before - 1) / 0.003 + 10)))] += 1
    return counts


async def panel(metal: str) -> dict[str, object]:
    """What the page shows of one metal. A plain function, once memoized, is awaited."""
    prices = await series(metal)
    return {
        "name": metal, "last": prices[-1], "risk": await value_at_risk(tuple(prices)),
        "line": line(prices), "bars": bars(prices),
    }  # fmt: skip


async def compute_page() -> str:
    panels = await asyncio.gather(*map(panel, METALS))
    return render_template_string(PAGE, panels=panels, time=time.strftime("%H:%M:%S"))


@app.get("/")
@manager.cacher(timeout=20, refresh_margin=15, compute_func=compute_page)
async def page() -> str: ...  # type: ignore[empty-body]


async def compute_series(metal: str) -> dict[str, object]:
    """Gets of the view's arguments those that it names."""
    return {"metal": metal, "prices": await series(metal)}


@app.get("/series/<any(copper, nickel, zinc):metal>")
@manager.cacher(timeout=4, compute_func=compute_series)
async def numbers(metal: str) -> dict[str, object]: ...  # type: ignore[empty-body]


manager.schedule_periodic_refresh("/", interval=5)

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Metals</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
  main { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem }
  section { border: 1px solid #8886; border-radius: .5rem; padding: 1rem }
  h2 { margin: 0; font-size: 1rem; text-transform: capitalize }
  strong { font-size: 2rem; font-variant-numeric: tabular-nums } svg { width: 100%; height: auto }
  polyline { fill: none; stroke: #2a78d6; stroke-width: 2 } rect { fill: #1baf7a }
</style>
<h1>Metals</h1><p>computed at {{ time }}</p>
<main>{% for panel in panels %}
  <section><h2>{{ panel.name }}</h2>
    <strong>{{ "%.2f"|format(panel.last) }}</strong>
    <svg viewBox="0 -2 200 64" role="img" aria-label="Prices">
      <polyline points="{{ panel.line }}"/></svg>
    <p>In 95 of 100 futures no more than {{ "%.1f"|format(panel.risk) }}% is lost.</p>
    <svg viewBox="0 0 200 50" role="img" aria-label="Changes">{% for count in panel.bars %}
      <rect x="{{ loop.index0 * 10 }}" y="{{ 50 - count }}" width="8" height="{{ count }}"/>
    {%- endfor %}</svg>
  </section>{% endfor %}
</main></html>
"""

if __name__ == "__main__":
    app.run()
