"""Parse `name = literal` lines of Python, as written by mmengine's `Config.dump`, without executing them."""

from __future__ import annotations

import ast
import math
from typing import Any


def literals(data: bytes) -> dict[str, Any]:
    """Return the values of the assignments `name = literal` in a file of Python.

    Literals are constants, signed numbers, lists, tuples, dicts, `dict(name=literal)`, `float("inf")`,
    `inf` and `nan`. Raises ValueError with the line for anything else, and the errors of `ast.parse`.
    """
    values: dict[str, Any] = {}
    for statement in ast.parse(data).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = _literal(value)
            case _:
                raise ValueError(f"line {statement.lineno}: {type(statement).__name__}")
    return values


_NUMBERS = {"inf": math.inf, "nan": math.nan}


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal; ValueError for any other expression."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name(id="inf" | "nan" as name):
            return _NUMBERS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _literal(operand)
            if isinstance(value, int | float):
                return -value
        case ast.List(elts=items):
            return [_literal(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_literal(item) for item in items)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {str(_literal(k)): _literal(v) for k, v in zip(keys, values, strict=True) if k is not None}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(k.arg for k in keywords):
            return {str(keyword.arg): _literal(keyword.value) for keyword in keywords}
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as name)], keywords=[]):
            return float(name)
    raise ValueError(f"line {node.lineno}: {type(node).__name__}")
