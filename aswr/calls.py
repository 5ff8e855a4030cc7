"""What a view was called with, and how to call it again on behalf of nobody.

Any thread; no I/O, no waiting. Must not know entries, engines or decorators.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flask.ctx import RequestContext
from werkzeug.exceptions import HTTPException

from .keys import Unkeyable, canonical
from .render import fitting


def is_async(function: Callable[..., Any]) -> bool:
    """Does calling it give a coroutine? Decided by what was given, never by a copied mark."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def compute_body(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A compute function in a view's place: it gets the view arguments that it accepts."""
    if is_async(compute):

        async def body(*args: Any, **kwargs: Any) -> Any:
            return await compute(**fitting(compute, kwargs))

        return body
    return lambda *args, **kwargs: compute(**fitting(compute, kwargs))


def routed(
    view_args: Mapping[str, Any] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Are the arguments the ones that routing found in the path? Then the path stands for them."""
    found = view_args or {}
    if args or len(kwargs) != len(found):
        return False
    return all(name in found and found[name] is value for name, value in kwargs.items())


def changed(context: RequestContext, kwargs: Mapping[str, Any]) -> bool:
    """Did a hook put something else into the arguments than the path says?"""
    if not kwargs or not context.app.before_request_funcs or context.url_adapter is None:
        return False
    try:
        found = context.url_adapter.match()[1]
    except HTTPException:
        return True
    return any(
        name not in found or (found[name] != value and not _alike(found[name], value))
        for name, value in kwargs.items()
    )


def _alike(found: Any, value: Any) -> bool:
    """Objects that a converter makes anew each time compare by type: the path stands for them."""
    try:
        canonical(value)
    except Unkeyable:
        return type(found) is type(value)
    return False


def instance_maker(instance: Any, function: Any) -> Callable[[], Any]:
    """How to make the instance of a class-based view afresh, as its ``as_view()`` does."""
    cls: Any = None
    while function is not None:
        cls = cls or getattr(function, "view_class", None)  # decorators of the class have it not
        code = getattr(function, "__code__", None)
        cells = (
            dict(zip(code.co_freevars, function.__closure__ or (), strict=False)) if code else {}
        )
        if "class_args" in cells:
            args, kwargs = cells["class_args"].cell_contents, cells["class_kwargs"].cell_contents
            return lambda: cls(*args, **kwargs)
        if "self" in cells and cls is not None:
            shared = cells["self"].cell_contents  # init_every_request = False
            return lambda: shared
        function = getattr(function, "__wrapped__", None)
    return type(instance)
