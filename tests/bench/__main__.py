"""Run the benches: `make bench` for all, `make bench-NAME` for one.

Each measures ours and its floor in the same run, prints a small table and writes `bench-results/NAME.json`. Figures
are ratios: machines differ. Nothing here is a test.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.bench import explain_lists, inventory_shape, poll_empty, update_lists
from tests.bench.figures import Figures
from tests.bench.result import BenchResult

BENCHES: dict[str, Callable[[], Coroutine[Any, Any, BenchResult | Figures]]] = {
    "explain_lists": explain_lists.measure,
    "inventory_shape": inventory_shape.measure,
    "poll_empty": poll_empty.measure,
    "update_lists": update_lists.measure,
}


def main() -> int:
    """Run what the arguments name; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure RedFlag.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHES)} (default: all)")
    names = parser.parse_args().names or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.stderr.write(f"There is no bench '{unknown[0]}'. There are: {', '.join(BENCHES)}.\n")
        return 2
    for name in names:
        result = asyncio.run(BENCHES[name]())
        sys.stdout.write(result.table())
        sys.stdout.write(f"written to {result.write()}\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
