"""An application factory and a blueprint: the manager is made once, each app gets it by `init_app`.

    flask --app examples/factory run

    curl -i 127.0.0.1:5000/articles/                          a second, and at once from then on
    curl -i 127.0.0.1:5000/articles/1                         the same for each article
    curl -i -X PUT 127.0.0.1:5000/articles/1 -d title=New     purges the article and each list
    curl -i 127.0.0.1:5000/articles/                          so this has the new title

An app in which nothing is cached, as tests of your views may want it:

    flask --app "examples/factory:create_app({'ASWR_ENABLED': False})" run
"""

from collections.abc import Mapping
from typing import Any

from flask import Flask

from .articles import articles
from .extensions import manager


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """An app of its own: its own entries, its own jobs."""
    app = Flask(__name__)
    app.config.from_mapping(config or {})
    manager.init_app(app)  # after the config, which is read here
    app.register_blueprint(articles)
    return app
