"""What a render holds of a request, in forms that note who reads them.

The environ, the headers, cookies and parameters, the Accept headers, the names in ``g``. Each looks
like Werkzeug's or Flask's own and is an instance of its class. What is noted is an input's name.

One render owns them; whichever thread runs its code may enter. Must not know Flask, nor what
becomes of the notes.

C code may walk the storage of a dict or a list without asking the object (some encoders do), and
``json`` does not ask a dict that is empty. So cookies, parameters and Accept headers keep nothing
in their own storage; in a dict's there is a key that is no text, on which such an encoder fails.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

from werkzeug.datastructures import Accept, EnvironHeaders

from .fieldtext import best_name
from .inputs import Rules

LONGEST_BEST = 400  # characters of a derived input's name; beyond, the whole header is the input


class Notes(Protocol):
    """Who is told of reads."""

    rules: Rules
    armed: bool

    def note(self, name: str) -> None: ...


def per_class(make: Callable[..., Any]) -> Callable[..., Any]:
    """Make one subclass of each class."""
    return cache(make)


def named_like(base: type[Any], body: dict[str, Any]) -> type[Any]:
    """A subclass that looks like its base."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (base,), names | body)


def raw(mapping: dict[str, Any]) -> dict[str, Any]:
    """A plain copy of a dict that may be recorded; not a read."""
    return dict(dict.items(mapping))  # dict.copy would ask for each key


class _Noting(dict[str, Any]):
    """A dict every reader of which is noted; a key that the render set itself is no input."""

    __slots__ = ("_own", "recorder")

    def __init__(self, values: dict[str, Any], recorder: Notes) -> None:
        super().__init__(raw(values))
        self.recorder = recorder
        self._own: set[object] = set()

    def look(self, key: Any) -> None:
        """Somebody reads one key."""
        raise NotImplementedError

    def look_all(self) -> None:
        """Somebody reads every key."""
        raise NotImplementedError

    def mine(self, key: Any) -> None:
        """The render sets a key."""
        self._own.add(key)

    def __getitem__(self, key: str) -> Any:
        self.look(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.look(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.look(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self.look(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self.look(key)
        return super().setdefault(key, default)

    def __delitem__(self, key: str) -> None:
        self.look(key)
        super().__delitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.mine(key)
        super().__setitem__(key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __iter__(self) -> Iterator[str]:
        self.look_all()
        return super().__iter__()

    def __len__(self) -> int:
        self.look_all()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self.look_all()
        return bool(super().__eq__(other))

    def __ne__(self, other: object) -> bool:
        self.look_all()
        return bool(super().__ne__(other))

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        self.look_all()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self.look_all()
        return super().__ror__(other)

    def __reversed__(self) -> Iterator[str]:
        self.look_all()
        return super().__reversed__()

    def __repr__(self) -> str:
        self.look_all()
        return super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (self.copy(),)  # what copies of it are: plain

    def keys(self) -> Any:
        self.look_all()
        return super().keys()

    def values(self) -> Any:
        self.look_all()
        return super().values()

    def items(self) -> Any:
        self.look_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        self.look_all()
        return raw(self)

    def popitem(self) -> tuple[str, Any]:
        self.look_all()
        return super().popitem()


class RecordedEnviron(_Noting):
    """A WSGI environ; everybody has one of his own, so that nobody can share its iteration."""

    __slots__ = ()

    def look(self, key: Any) -> None:
        if self.recorder.armed and key not in self._own and isinstance(key, str):
            self.recorder.note(self.recorder.rules.input_of(key))

    def look_all(self) -> None:
        self.recorder.note("environ")


class RecordedNames(_Noting):
    """The names in ``g``. One that nobody set in the render is an input.

    `shown` are the caller's: each is as if it were set from when it is first read.
    """

    __slots__ = ("shown",)

    def __init__(self, values: dict[str, Any], recorder: Notes, shown: Mapping[str, Any]) -> None:
        super().__init__(values, recorder)
        self._own.update(raw(values))
        self.shown = dict(shown)

    def show(self, values: Mapping[str, Any]) -> None:
        """From now on these of the caller's may be seen, but for names that the render has."""
        self.shown = {name: value for name, value in values.items() if name not in self._own}

    def look(self, key: Any) -> None:
        if key in self._own or not isinstance(key, str) or is_dunder(key):
            return
        self.recorder.note(f"g.{key}")
        if key in self.shown:
            dict.__setitem__(self, key, self.shown.pop(key))

    def look_all(self) -> None:
        self.recorder.note("g.*")
        shown, self.shown = self.shown, {}
        dict.update(self, shown)

    def mine(self, key: Any) -> None:
        super().mine(key)
        self.shown.pop(key, None)

    def clear(self) -> None:
        self.shown.clear()
        super().clear()

    def plain(self) -> dict[str, Any]:
        """All that is there to be read, the shown names too; not a read."""
        return self.shown | raw(self)


def is_dunder(name: str) -> bool:
    """Is this a name of Python's own, which copying and printing look for?"""
    return name.startswith("__") and name.endswith("__")


def names_of(g: Any) -> dict[str, Any]:
    """The names in ``g``, past whatever notes its readers."""
    names: dict[str, Any] = object.__getattribute__(g, "__dict__")
    return names


@per_class
def recorded_g_class(base: Any) -> Any:
    """The app's class of ``g``; its own methods work on the `RecordedNames` in its ``__dict__``."""
    # What a class has in front of any name that somebody sets, and its methods.
    fixed = {
        name
        for cls in base.__mro__
        for name, value in vars(cls).items()
        if hasattr(type(value), "__set__") or inspect.isroutine(value)
    }

    def names(self: Any) -> RecordedNames:
        return names_of(self)  # type: ignore[return-value]

    def read(self: Any, name: str) -> Any:
        if name not in fixed:
            names(self).look(name)
        return base.__getattribute__(self, name)

    def write(self: Any, name: str, value: Any) -> None:
        names(self).mine(name)
        base.__setattr__(self, name, value)

    def delete(self: Any, name: str) -> None:
        names(self).look(name)
        base.__delattr__(self, name)

    def listed(self: Any) -> Any:
        names(self).look_all()
        return base.__dir__(self)

    body = {"__getattribute__": read, "__setattr__": write, "__delattr__": delete}
    return named_like(base, body | {"__dir__": listed})


class RecordedHeaders(EnvironHeaders):
    """Request headers: a look-up reads one, a walk all of them but not the environ."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        environ: Any = self.environ
        environ.recorder.note("all headers")
        return iter(EnvironHeaders(raw(environ)))

    def getlist(self, key: str, type: Any = None) -> list[Any]:
        """The values of one header; none or one, as WSGI joins them."""
        value = self.get(key, None, type=type) if type else self.get(key)
        return [] if value is None else [value]


# Readers of one key, and of everything, of dicts and lists of any of Werkzeug's classes.
ONE = frozenset(
    "__getitem__ __contains__ __delitem__ get getlist pop poplist setdefault setlistdefault".split()
)
WHOLE = frozenset(
    """
    __iter__ __len__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __or__ __ror__ __add__ __mul__
    __rmul__ __reversed__ __repr__ __str__ __hash__ __copy__ __deepcopy__ __reduce_ex__
    keys values items lists listvalues copy deepcopy to_dict popitem popitemlist
    count index find quality best_match to_header
    """.split()
)
WRITERS = frozenset("__setitem__ __ior__ add setlist update clear".split())
_OF_LISTS = WHOLE | {"__getitem__", "__contains__"}


class _NoText:
    """A key that keeps a dict's storage from being empty."""

    def __repr__(self) -> str:
        return "<what is here is read by the mapping's own methods>"


_NO_TEXT: Any = _NoText()


def _plain(value: Any) -> Any:
    """What a recorded object stands for; to hand it to an operator is to read all of it."""
    note = getattr(type(value), "_aswr_whole", None)
    if note is None:
        return value
    note(value)
    return value._aswr_plain


def _delegated(name: str, note: Callable[..., None]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        note(self, *args, **kwargs)
        return getattr(self._aswr_plain, name)(*map(_plain, args), **kwargs)

    method.__name__ = name
    return method


def _nothing(self: Any, *args: Any, **kwargs: Any) -> None:
    pass


@per_class
def _recorded_dict(base: Any, one: str, whole: str) -> Any:
    """A subclass whose instances hold nothing themselves and ask a plain one, noting it."""

    def note_one(self: Any, *args: Any, **kwargs: Any) -> None:
        key = args[0] if args else kwargs.get("key")
        if isinstance(key, str):
            self._aswr_recorder.note(f"{one} {key}")

    def note_whole(self: Any, *args: Any, **kwargs: Any) -> None:
        self._aswr_recorder.note(whole)

    body: dict[str, Any] = {"_aswr_whole": note_whole}
    for names, note in ((ONE, note_one), (WHOLE, note_whole), (WRITERS, _nothing)):
        found = (name for name in names if getattr(base, name, None) is not None)
        body |= {name: _delegated(name, note) for name in found}
    return named_like(base, body)


def recorded_dict(plain: Any, recorder: Notes, one: str, whole: str) -> Any:
    """A mapping like `plain`, of its class: one key of it is `one`, everything `whole`.

    What is no dict is read as a whole, now.
    """
    if not isinstance(plain, dict):
        recorder.note(whole)
        return plain
    made = _recorded_dict(type(plain), one, whole)
    recorded = made.__new__(made)
    dict.__setitem__(recorded, _NO_TEXT, None)
    recorded._aswr_plain, recorded._aswr_recorder = plain, recorder
    return recorded


@per_class
def _recorded_accept(base: Any, header: str) -> Any:
    def note_whole(self: Any, *args: Any, **kwargs: Any) -> None:
        self._aswr_recorder.note(f"header {header}")

    def best_match(self: Any, matches: Any, default: Any = None) -> Any:
        choices = list(matches)
        text = all(type(choice) is str for choice in choices)
        if not text or not (default is None or type(default) is str):
            note_whole(self)
            return self._aswr_plain.best_match(choices, default)
        name = best_name(header, choices, default)
        try:
            found = self._aswr_plain.best_match(choices, default)
        except Exception:  # a choice that is no media type: what is raised may depend on the header
            note_whole(self)
            raise
        note_whole(self) if len(name) > LONGEST_BEST else self._aswr_recorder.note(name)
        return found

    def attribute(name: str) -> property:
        def read(self: Any) -> Any:
            note_whole(self)
            return getattr(self._aswr_plain, name)

        return property(read)

    def added_to(self: Any, other: Any) -> Any:
        note_whole(self)
        return other + list(self._aswr_plain)

    names = [name for name in _OF_LISTS if getattr(base, name, None) is not None]
    body: dict[str, Any] = {name: _delegated(name, note_whole) for name in names}
    body |= {"provided": attribute("provided"), "best": attribute("best")}
    body |= {"_aswr_whole": note_whole, "best_match": best_match, "__radd__": added_to}
    return named_like(base, body)


def recorded_accept(plain: Accept, recorder: Notes, header: str) -> Accept:
    """An Accept header of `plain`'s class: ``best_match`` reads its result, all else the header."""
    made = _recorded_accept(type(plain), header)
    recorded: Accept = made.__new__(made)
    vars(recorded).update(_aswr_plain=plain, _aswr_recorder=recorder)
    return recorded
