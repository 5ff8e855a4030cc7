"""The table of speed: ``nox -s bench``, or a part of it, ``nox -s bench -- NAME NAME``.

Each benchmark runs in a process of its own, so that the memory and the threads of one do not weigh
on the next, and has `LIMIT` seconds. The table appears row by row; ``build/bench`` gets it as
Markdown, with all figures as JSON and plots as SVG. ``--readme`` puts it into the README: of a part
its rows, and under the table when and with what they were measured. Nothing is compared with a
limit here but for the word "yes" or "no": what is too slow fails nothing.
"""

import argparse
import signal
import sys
import traceback
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # not the root: what is installed is measured

from benchmarks import plots, record, rows, table
from benchmarks.rows import Missing, Outcome

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "bench"
LIMIT = 300.0
STOP_LIMIT = 60.0


def measure(name: str, report: Connection) -> None:
    """In the process of a benchmark: send its outcomes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped on the way out
    try:
        report.send(rows.load()[name].outcomes())
    except Exception as error:
        traceback.print_exc()
        report.send(Missing(f"{type(error).__name__}, see above"))


def outcomes_of(benchmark: rows.Benchmark) -> list[Outcome]:
    """Measure in a process of its own, in bounded time."""
    context = get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(benchmark.name, send), name=benchmark.name)
    process.start()
    send.close()  # ours: now its end is also the end of the pipe
    try:
        found = receive.recv() if receive.poll(LIMIT) else Missing(f"longer than {LIMIT:g} s")
        if not isinstance(found, Missing):
            process.join(STOP_LIMIT)
    except EOFError:
        found = Missing("its process ended")
    finally:
        process.terminate()
        process.join(STOP_LIMIT)
        process.kill()
    return [found] * len(benchmark.rows) if isinstance(found, Missing) else found


def main() -> None:
    """Measure, print, and leave the records."""
    benchmarks = rows.load()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(benchmarks))
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    asked = parser.parse_args()
    for name in asked.names:
        if name not in benchmarks:
            parser.error(f"there is no {name}; there are {', '.join(benchmarks)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    for name in asked.names or benchmarks:
        outcomes[name] = outcomes_of(benchmarks[name])
        print(table.for_terminal(benchmarks[name], outcomes[name]), flush=True)
        plots.plot(FOLDER, benchmarks[name], outcomes[name])
    about = record.about()
    (FOLDER / "table.md").write_text(table.markdown(benchmarks, outcomes, about))
    record.write_json(FOLDER, benchmarks, outcomes)
    if asked.readme:
        readme = ROOT / "README.md"
        old = table.between_marks(readme)
        table.put_between_marks(readme, table.merged(old, benchmarks, outcomes, about))
    print(f"in {FOLDER.relative_to(ROOT)}: table.md, results.json, pyperf.json, *.svg")


if __name__ == "__main__":
    main()
