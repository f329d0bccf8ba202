"""Figures of a bench that compares several shapes of the same thing: one line a figure, one column a shape."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.result import RESULTS


@dataclass
class Figures:
    """What was measured of each shape.

    Attributes:
        name: of the bench.
        what: for people.
        shapes: the columns, the present one first.
        lines: figure (with its unit) -> shape -> rounds.
        size: the parameters the figures were made with.
    """

    name: str
    what: str
    shapes: tuple[str, ...]
    size: dict[str, int]
    lines: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, figure: str, shape: str, *rounds: float) -> None:
        """Add rounds of one figure of one shape."""
        self.lines.setdefault(figure, {}).setdefault(shape, []).extend(rounds)

    def median(self, figure: str, shape: str) -> float | None:
        """The median of a figure; None when the shape has none of it."""
        rounds = self.lines.get(figure, {}).get(shape)
        return statistics.median(rounds) if rounds else None

    def table(self) -> str:
        """The figures for people."""
        head = ", ".join(f"{key} {value:,}" for key, value in self.size.items())
        text = f"{self.name}: {self.what} ({head})\n  {'':44s}" + "".join(
            f"{one:>14s}" for one in self.shapes
        )
        for figure in self.lines:
            cells = [self.median(figure, shape) for shape in self.shapes]
            text += f"\n  {figure:44s}" + "".join(
                f"{'-':>14s}" if cell is None else f"{cell:14,.1f}" for cell in cells
            )
        return text + "\n"

    def write(self) -> Path:
        """Write the JSON file; return its path."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        figures = {
            figure: {shape: self.median(figure, shape) for shape in shapes}
            for figure, shapes in self.lines.items()
        }
        content = {"name": self.name, "size": self.size, "figures": figures, "rounds": self.lines}
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path
