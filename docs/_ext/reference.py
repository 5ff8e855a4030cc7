"""The tables of options and config keys, read from the code: signatures, docstrings, comments.

Pure: text out, Markdown. Raises `LookupError` where the code does not describe an option or a key.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import aswr.options
from aswr import CacheManager
from aswr.checks import CHECKS
from aswr.options import CONFIG, UNSET

DECORATORS: Mapping[str, Callable[..., Any]] = {
    "cacher": CacheManager.cacher,
    "memoize": CacheManager.memoize,
}
KIB = 1024
# What `CHECKS` has no check for, since the decorators check it themselves.
UNCHECKED = {
    "timeout": "seconds",
    "compute_func": "function",
    "key": "function",
    "scope": "function",
    "unless": "function",
    "store_if": "function",
    "sizeof": "function",
    "tags": "names",
    "copy": "True or False",
    "shared": "True or False",
    "codec": "object",
    "cache": "address, object",
    "base_url": "text",
}


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """The options of a decorator, in their order."""
    parameters = dict(inspect.signature(DECORATORS[name]).parameters)
    parameters.pop("self")
    return parameters


def descriptions(name: str) -> dict[str, str]:
    """What the docstring of a decorator says of each option: ````NAME``: text``."""
    text = inspect.getdoc(DECORATORS[name]) or ""
    found = {}
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        for match in re.finditer(r"``(\w+)``: (.*?)(?=\s``\w+``: |$)", line):
            found[match[1]] = match[2]
    return found


def described(name: str, option: str) -> str:
    """The text for one option. `memoize` says "as in `cacher`" of the time options."""
    own = descriptions(name).get(option) or descriptions("cacher").get(option)
    if own is None:
        raise LookupError(f"the docstring of {name} does not say what ``{option}``: is")
    return markdown(own)


def comments() -> dict[str, str]:
    """What the comment above each key in ``CONFIG`` says."""
    source = inspect.getsource(aswr.options)
    lines = source.splitlines()
    found = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Dict):
            continue
        for key in node.keys:
            if isinstance(key, ast.Constant) and str(key.value).startswith("ASWR_"):
                above, line = [], key.lineno - 2
                while lines[line].strip().startswith("#"):
                    above.insert(0, lines[line].strip().lstrip("# "))
                    line -= 1
                found[str(key.value)] = " ".join(above)
    return found


def option_of(key: str) -> str:
    """The decorators' option that a config key is the default of; empty if it is none's."""
    option = key.removeprefix("ASWR_").lower()
    parameter = options_of("cacher").get(option)
    return option if parameter is not None and parameter.default is UNSET else ""


def meaning(key: str) -> str:
    """The text for one config key."""
    option = option_of(key)
    if option:
        return f"default of [`{option}=`](#cacher-{anchor(option)})"
    text = comments().get(key)
    if not text:
        raise LookupError(f"no comment above {key} in aswr/options.py says what it is for")
    return markdown(re.sub(r'("[^"]+")', r"`\1`", text))


def key_of(option: str) -> str:
    """The config key that has to do with an option; empty if none has."""
    key = f"ASWR_{option.upper()}"
    return key if key in CONFIG else ""


def unit(option: str, default: Any) -> str:
    """What an option takes, found by giving its check one thing after the other."""
    check = CHECKS.get(option)
    if check is None:
        return UNCHECKED[option]

    def takes(value: Any) -> bool:
        try:
            check("", value)
        except (TypeError, ValueError, ImportError):
            return False
        return True

    if takes(timedelta(minutes=1)):
        return "seconds"
    if takes({404: 30}):
        return "statuses: seconds"
    if takes(0.25):
        return "share"
    if takes(True):
        named = ", names" if takes(["gzip"]) or takes(["page"]) else ""
        return ("True or False" if takes(False) else "True") + named
    if takes(1000) and not takes("names"):
        return "bytes" if isinstance(default, int) and default >= KIB else "number"
    if takes(["Accept"]):
        return "names"
    return "text"


def shown(value: Any) -> str:
    """A default as a reader would write it."""
    if isinstance(value, int) and not isinstance(value, bool) and value and value % KIB == 0:
        mib = value // KIB // KIB
        return f"{mib} MiB" if mib else f"{value // KIB} KiB"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value!r}`"


def markdown(text: str) -> str:
    """Docstring text as a cell of a table."""
    text = text.rstrip(".").replace("|", r"\|")
    text = re.sub(r"(?<!`)`(\w+)`(?!`)", r"``\1``", text)
    text = re.sub(r"\bASWR_[A-Z_]+\b", lambda m: f"[`{m[0]}`](#key-{anchor(m[0])})", text)
    return re.sub(
        r"RFC (\d{4})(?: §(\d+(?:\.\d+)*))?",
        lambda m: (
            f"[{m[0]}](https://www.rfc-editor.org/rfc/rfc{m[1]}"
            + (f"#section-{m[2]})" if m[2] else ")")
        ),
        text,
    )


def anchor(name: str) -> str:
    return name.removeprefix("ASWR_").lower().replace("_", "-")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def options_table(name: str) -> str:
    """Every option of a decorator."""
    rows = []
    for option, parameter in options_of(name).items():
        key = key_of(option)
        default: Any = parameter.default
        if default is inspect.Parameter.empty:
            text = "required"
        else:
            default = CONFIG[key] if default is UNSET else default
            text = shown(default)
        link = f"<br>[`{key}`](#key-{anchor(key)})" if key else ""
        rows.append(
            (
                f'<a id="{name}-{anchor(option)}"></a>`{option}`{link}',
                text,
                unit(option, default),
                described(name, option),
            )
        )
    return table(("option, config key", "default", "takes", ""), rows)


def keys_table() -> str:
    """Every config key."""
    rows = []
    for key, default in CONFIG.items():
        option = key.removeprefix("ASWR_").lower()
        rows.append(
            (
                f'<a id="key-{anchor(key)}"></a>`{key}`',
                shown(default),
                unit(option, default),
                meaning(key),
            )
        )
    return table(("key", "default", "takes", ""), rows)
