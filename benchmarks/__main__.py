"""Measure the engine, and the statistics over seeds: ``make bench``.

Every ratio compares loops of one run that took turns on one thread; the figure is the median over
rounds, with the smallest and the largest beside it. Rates are per second of processor time.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import coverage, diagnostics, edits, engine, online, precision, selection
from benchmarks.cases import ROUNDS
from plasticity.device import prepare_process

PARTS = {
    "engine": engine.lines,
    "online": online.lines,
    "precision": precision.lines,
    "edits": edits.lines,
    "diagnostics": diagnostics.lines,
    "selection": selection.lines,
    "coverage": coverage.lines,
}


def header() -> Iterator[str]:
    """Return the first lines of the result."""
    yield "# The engine, measured\n"
    yield f"One thread of {precision.cpu_name()}, float32, torch {torch.__version__};"
    yield "median (smallest to largest) of"
    yield f"{ROUNDS} rounds in which the compared loops took turns. Written by `make bench`.\n"


def main() -> None:
    """Print the result and write it beside this file; a part alone is only printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help="measure this alone")
    part = parser.parse_args().part
    prepare_process()
    written = []
    for source in [header, *PARTS.values()] if part is None else [PARTS[part]]:
        for line in source():
            print(line, flush=True)
            written.append(line)
    if part is None:
        (Path(__file__).parent / "RESULTS.md").write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()
