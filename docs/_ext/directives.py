"""How Sphinx shows what `written` puts into the pages: anchors of tables, time lines with colours.

In the files they are what any Markdown renderer understands, ``<a id="...">`` and an image.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

ANCHOR = re.compile(r'<a id="([\w-]+)"></a>(`[^`]+`)')


def anchors(app: Sphinx, page: str, source: list[str]) -> None:
    """An anchor before a name becomes a target, to which other pages can link."""
    source[0] = ANCHOR.sub(r"[\2]{#\1}", source[0])


def drawings(app: Sphinx, page: nodes.document) -> None:
    """A time line becomes part of its page, and so takes the text's colour in the theme's dark."""
    for image in list(page.findall(nodes.image)):
        if Path(image["uri"]).name.startswith("timeline"):
            drawn = (Path(app.srcdir) / image["uri"]).read_text()
            alone = re.sub(r"<style>.*?</style>\n", "", drawn)
            figure = f'<figure class="timeline">{alone}</figure>'
            image.replace_self(nodes.raw("", figure, format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", anchors)
    app.connect("doctree-read", drawings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
