"""Refusals: one family, stable codes, bounded detail; and what the package says about itself."""

import importlib
import inspect
import pickle
import pkgutil
from typing import Any

import pytest

import redflag_wire
from redflag_wire import errors
from redflag_wire.errors import DETAIL_MAX_CHARS, WireError

FAMILIES = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, WireError) and one is not WireError
]
MODULES = [one.name for one in pkgutil.iter_modules(redflag_wire.__path__)]


@pytest.mark.parametrize("family", FAMILIES)
def test_refusal_carries_code_and_detail(family: type[WireError]) -> None:
    error = family("some_code", "why")
    assert (error.code, error.detail, str(error)) == ("some_code", "why", "some_code: why")
    assert str(family("some_code")) == "some_code"
    again: Any = pickle.loads(pickle.dumps(error))  # noqa: S301 - errors cross process pools
    assert (type(again), again.code, again.detail) == (family, "some_code", "why")
    assert family.__name__.endswith("Error")


def test_detail_is_bounded() -> None:
    error = WireError("code", "x" * 100_000)
    assert len(error.detail) == DETAIL_MAX_CHARS
    assert len(str(error)) < DETAIL_MAX_CHARS + 20


@pytest.mark.parametrize("name", MODULES)
def test_every_module_and_public_name_is_documented(name: str) -> None:
    module = importlib.import_module(f"redflag_wire.{name}")
    assert module.__doc__
    for label, member in vars(module).items():
        own = getattr(member, "__module__", None) == module.__name__
        if own and not label.startswith("_") and (inspect.isclass(member) or inspect.isfunction(member)):
            assert member.__doc__, f"{name}.{label}"
