"""A module that calls itself pure is held to it by the import rules."""

import ast
import re
import tomllib
from pathlib import Path

from tests.unit.house.test_documents import MODULES

ROOT = Path(__file__).parents[3]
# The wire may not import I/O at all, and what stands beside the command line's commands has no contract yet.
HELD_OTHERWISE = ("redflag_wire", "redflag.")
PURE = re.compile(r"\bPure\b|; pure|\b(Rules|Arithmetic|Counting) only\b")


def test_pure_modules_stand_in_the_import_rules() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (held,) = [one["source_modules"] for one in contracts if one["name"] == "Rules do no I/O"]
    pure = [
        name
        for name, path in MODULES.items()
        if not name.startswith(HELD_OTHERWISE)
        and PURE.search(ast.get_docstring(ast.parse(path.read_text())) or "")
    ]
    assert len(pure) > 20
    assert sorted(set(pure) - set(held)) == []
