"""All reasons for which a request may pass, or an answer not be stored, read from the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import aswr

ROOT = Path(aswr.__file__).parent

CALLS = {"Pass", "StreamTooLong", "release", "release_in", "describe"}
NAMES = {"detail", "fwd", "passing"}  # of arguments and variables that carry a reason
RETURN_THEM = {"_alone", "_unfit", "_fate", "describe"}
# What is called alike and is none: how an older answer came to be given, what a load came to
# that named no reason (no code of aswr's), and why a load was needed (RFC 9211).
OTHERS = {
    "revalidating", "held-back", "stale-if-error", "soft-timeout", "pass", "request", "stale",
    "uri-miss", "vary-miss",
}  # fmt: skip


def _texts(node: ast.AST | None) -> Iterator[str]:
    """The texts that an expression may come to; of what is put together how it begins."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from _texts(node.values[0])
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _texts(value)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)
    elif isinstance(node, ast.Tuple | ast.List):
        for value in node.elts:
            yield from _texts(value)
    elif isinstance(node, ast.BinOp):
        yield from _texts(node.left)
        yield from _texts(node.right)


def _made(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        for argument in node.args if name in CALLS else ():
            yield from _texts(argument)
        if name == "Found":
            yield from _texts(node.args[-1])
        for keyword in node.keywords:
            if keyword.arg in NAMES:
                yield from _texts(keyword.value)
    elif isinstance(node, ast.Assign):
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        targets = {t.id for target in node.targets for t in ast.walk(target)
                   if isinstance(t, ast.Name)}  # fmt: skip
        if targets & names & NAMES:
            yield from _texts(node.value)
    elif isinstance(node, ast.FunctionDef) and node.name in RETURN_THEM:
        for each in ast.walk(node):
            if isinstance(each, ast.Return | ast.Assign):
                yield from _texts(each.value)


def all_reasons() -> list[str]:
    """Each of them, or how it begins."""
    found = {"bypass"}  # `Pass.fwd`, by default
    for path in sorted(ROOT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            found.update(_made(node))
    return sorted(found - OTHERS - {""})


REASONS = all_reasons()
