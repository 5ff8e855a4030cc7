"""Shared by the tests with extensions: each view as ``def`` and as ``async def``."""

from collections.abc import Callable
from typing import Any

import pytest


class Counter:
    """Counts renders; a view that answers with it tells the number of its render."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return self.count


@pytest.fixture
def counter() -> Counter:
    return Counter()


def as_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same view, written as ``async def``."""

    async def view(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    view.__name__, view.__qualname__ = function.__name__, function.__qualname__
    return view


@pytest.fixture(params=["def", "async def"])
def colour(request: pytest.FixtureRequest) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Leaves a view as it is, or makes it a coroutine function."""
    return as_coroutine if request.param == "async def" else lambda function: function


@pytest.fixture
def cached(manager: Any, colour: Any) -> Callable[..., Any]:
    """`manager.cacher` over the view in the colour at hand, for 20 seconds."""

    def cached(**options: Any) -> Callable[..., Any]:
        return lambda function: manager.cacher(20, **options)(colour(function))

    return cached


class Told:
    """What ``Cache-Status`` says of a response."""

    def __call__(self, response: Any) -> str:
        status: str = response.headers.get("Cache-Status", "")
        return status.removeprefix("aswr; ")

    def hit(self, response: Any) -> bool:
        return self(response).startswith("hit")

    def stored(self, response: Any) -> bool:
        return self(response).endswith("; stored")

    def passed(self, response: Any) -> bool:
        return self(response).startswith("fwd=bypass; detail=")


@pytest.fixture
def told() -> Told:
    return Told()
