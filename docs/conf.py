"""How Sphinx makes the manual: ``nox -s docs``."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
author = "the authors of aswr"
copyright = author
release = PROJECT["version"]

extensions = ["myst_parser", "directives"]
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_ext", "requirements*"]
templates_path: list[str] = []

html_theme = "furo"
html_title = "aswr"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_copy_source = False
html_show_copyright = False
pygments_style = "default"
pygments_dark_style = "github-dark"

# `nox -s links`
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]  # made by its scripts
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)"]
