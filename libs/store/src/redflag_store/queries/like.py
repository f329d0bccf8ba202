"""Looking for text inside text the way people mean it: in any case, and with no sign of it special."""

from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, func

_ESCAPE = "\\"


def contains(column: SQLColumnExpression[Any], wanted: str) -> ColumnElement[bool]:
    """Whether `column` contains `wanted`, in any case; `%` and `_` stand for themselves."""
    escaped = wanted.lower()
    for sign in (_ESCAPE, "%", "_"):
        escaped = escaped.replace(sign, _ESCAPE + sign)
    return func.lower(column).like(f"%{escaped}%", escape=_ESCAPE)
