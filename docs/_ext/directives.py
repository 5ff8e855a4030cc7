"""What the manual's pages can ask for: tables of options, and time lines."""

import reference
import timeline
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Options(SphinxDirective):
    """The options of a decorator: ``{options} cacher``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(reference.__file__)
        return self.parse_text_to_nodes(reference.options_table(self.arguments[0]))


class ConfigKeys(SphinxDirective):
    """Every config key: ``{config-keys}``."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(reference.__file__)
        return self.parse_text_to_nodes(reference.keys_table())


class Timeline(SphinxDirective):
    """An entry's time line, drawn: ``{timeline}`` with the options of a decorator."""

    option_spec = dict.fromkeys(
        ("timeout", "refresh-margin", "stale-if-error", "cost"), directives.unchanged
    )

    def run(self) -> list[nodes.Node]:
        numbers = {name.replace("-", "_"): float(text) for name, text in self.options.items()}
        return [nodes.raw("", timeline.figure(**numbers), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("options", Options)
    app.add_directive("config-keys", ConfigKeys)
    app.add_directive("timeline", Timeline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
