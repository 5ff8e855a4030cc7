"""The pytest plugin: the fixture ``aswr_kit``, and the clock that it moves.

Loaded by entry point, before any conftest and so before the apps that those import. It changes
nothing until a test asks for the fixture; ``-p no:aswr`` leaves it out. Imports pytest, so nobody
imports this.
"""

import contextlib
from collections.abc import Iterator

import pytest
from flask import Flask

from . import testing
from .manager import CacheManager

testing.install()


@pytest.fixture
def aswr_kit() -> Iterator[testing.MakeKit]:
    """Called with an app or its CacheManager, the `aswr.testing.Kit` of this test for it."""
    kits: dict[CacheManager, testing.Kit] = {}
    with contextlib.ExitStack() as stack:

        def make(app: Flask | CacheManager) -> testing.Kit:
            manager = testing.manager_of(app)
            if manager not in kits:
                kits[manager] = stack.enter_context(testing.Kit(app))
            return kits[manager]

        yield make
