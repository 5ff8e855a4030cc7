"""What the pages hold that is made of the code: tables of options, pictures of time lines.

It stands in the files, between markers, so that they read right wherever Markdown is shown.
``python docs/_ext/written.py`` writes it anew; a test says where it is not what the code makes.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import reference
import timeline

DOCS = Path(__file__).parent.parent
PICTURES = {
    "timeline": {"timeout": 60, "refresh_margin": 20, "stale_if_error": 3600},
    "timeline-measured": {"timeout": 60, "cost": 1},
}
MADE = re.compile(r"(<!-- made: (?P<what>[\w -]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def made(what: str) -> str:
    """The Markdown that a marker asks for: "options cacher", "keys", "picture timeline"."""
    kind, _, name = what.partition(" ")
    if kind == "options":
        return reference.options_table(name)
    if kind == "keys":
        return reference.keys_table()
    options = PICTURES[name]
    text = f"![{timeline.told(**options)}](images/{name}.svg)"
    return f"{text}\n\n`{timeline.caption(**options)}`\n"


def files() -> Iterator[tuple[Path, str]]:
    """Every file that has something of this in it, and what it should be."""
    for name, options in PICTURES.items():
        yield DOCS / "images" / f"{name}.svg", timeline.drawing(**options)
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if MADE.search(text):
            yield page, MADE.sub(lambda found: f"{found[1]}\n{made(found['what'])}\n", text)


if __name__ == "__main__":
    for file, text in files():
        file.write_text(text)
