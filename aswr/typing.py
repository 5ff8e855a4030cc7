"""The types of what the decorators return. Protocols only; nothing runs."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from .codec import Entry

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class CachedFunction(Protocol[P, R_co]):
    """A cached view: called as before; its verbs take the view's URL arguments."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    def invalidate(self, **view_args: Any) -> bool: ...
    def refresh(self, **view_args: Any) -> Entry | None: ...
    async def ainvalidate(self, **view_args: Any) -> bool: ...
    async def arefresh(self, **view_args: Any) -> Entry | None: ...


class MemoizedFunction(Protocol[P, R_co]):
    """A memoized function: awaited, or called with ``.sync``; verbs take a call's arguments."""

    __name__: str

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    def sync(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    def peek(self, *args: P.args, **kwargs: P.kwargs) -> Entry | None: ...
    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None: ...
    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...
    async def arefresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None: ...
    async def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...


class Memoizer(Protocol):
    """What ``memoize(...)`` returns: it decorates ``async def`` and ``def`` alike."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> MemoizedFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> MemoizedFunction[P, R]: ...
