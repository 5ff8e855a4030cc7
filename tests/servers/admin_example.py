"""The first example of the README as it stands, with the admin page mounted on it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))

from delta_positions import app, manager

from aswr.admin import blueprint

app.register_blueprint(blueprint(manager, authorize=lambda: True), url_prefix="/aswr")
