"""Finding the cached view behind whatever Flask has as view function."""

import functools

import pytest
from flask.views import MethodView

from aswr.site import MARK, find_view


def test_a_view_is_found_through_wrappers_that_say_what_they_wrap(manager):
    """functools.wraps leads to the cached view; a wrapper that hides it hides it."""

    @manager.cacher(timeout=5)
    async def view():
        return "x"

    def outer(*args):
        return view(*args)

    mark = getattr(view, MARK)
    assert find_view(view) is mark
    assert find_view(functools.wraps(view)(outer)) is mark
    assert find_view(lambda: view()) is None


def test_a_copied_mark_is_not_the_view(manager):
    """A mark that functools.wraps copied is believed only of the wrapper it belongs to."""

    @manager.cacher(timeout=5)
    async def view():
        return "x"

    def impostor():
        return "y"

    impostor.__dict__.update(view.__dict__)
    assert find_view(impostor) is None


def test_a_view_is_found_in_a_class(manager):
    """The decorated get of a class-based view, and decorators = [...], are found."""

    class Method(MethodView):
        @manager.cacher(timeout=5)
        async def get(self):
            return "x"

    class Whole(MethodView):
        decorators = [manager.cacher(timeout=5)]

        async def get(self):
            return "x"

    assert find_view(Method.as_view("m")) is getattr(Method.get, MARK)
    whole = Whole.as_view("w")
    assert find_view(whole) is getattr(whole, MARK)


def test_a_dropped_app_says_so(manager, app):
    """Using a site whose app is gone is an error with the app's name."""
    site = manager._sites[app]
    assert site.app is app
    site._app = lambda: None
    with pytest.raises(RuntimeError, match=r"'shop'.*no longer exists"):
        _ = site.app
