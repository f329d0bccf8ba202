"""What a bench found: rounds of ours beside the floor, and their ratio."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path("bench-results")


@dataclass(frozen=True)
class Round:
    """One round: the same work through ours and through the floor, in the same unit."""

    ours: float
    floor: float

    @property
    def ratio(self) -> float:
        return self.ours / self.floor


@dataclass(frozen=True)
class BenchResult:
    """A bench's rounds. The ratio is the median; at or below the target means met."""

    name: str
    what: str
    unit: str
    target: float
    rounds: list[Round]

    @property
    def ratio(self) -> float:
        return statistics.median(one.ratio for one in self.rounds)

    def table(self) -> str:
        """The figures for people."""
        ours = statistics.median(one.ours for one in self.rounds)
        floor = statistics.median(one.floor for one in self.rounds)
        ratios = sorted(one.ratio for one in self.rounds)
        met = "met" if self.ratio <= self.target else "not met"
        return (
            f"{self.name}: {self.what}\n"
            f"  ours   {ours:10.1f} {self.unit}\n"
            f"  floor  {floor:10.1f} {self.unit}\n"
            f"  ratio  {self.ratio:10.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} rounds); "
            f"target {self.target}: {met}\n"
        )

    def write(self) -> Path:
        """Write the JSON file; return its path."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        figures = {
            "unit": self.unit,
            "ours": statistics.median(one.ours for one in self.rounds),
            "floor": statistics.median(one.floor for one in self.rounds),
        }
        rounds = [{"ours": one.ours, "floor": one.floor, "ratio": one.ratio} for one in self.rounds]
        content = {
            "name": self.name, "figures": figures, "ratio": self.ratio, "target": self.target, "rounds": rounds,
        }  # fmt: skip
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path
