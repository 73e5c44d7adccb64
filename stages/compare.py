"""Compare the conditions of a study: one verdict for each of its claims."""

import argparse
import sys
from pathlib import Path

from plasticity import command, study
from plasticity.files import STUDY_HTML


def main() -> None:
    """Write ``reports/study.html`` and ``reports/study`` for the study of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.compare",
        description="Read the tables of a study in reports/studies; write reports/study.html.",
        epilog=command.EXIT_CODES,
    )
    parser.add_argument("study", type=Path, help="such as studies/laptop.yaml")
    parser.add_argument(
        "--difference",
        type=command.positive,
        metavar="POINTS",
        help="also print how many seeds find a difference of so many points of accuracy",
    )
    arguments = parser.parse_args()
    asked = study.read(arguments.study)
    from plasticity.report.comparison import (
        gather,
        page,
        planner,
    )  # only now, so that --help is quick

    comparison = gather.read(asked)
    size = page.write(comparison)
    width = 2 + max((len(claim.name) for claim in asked.claims), default=0)
    for decision in comparison.decisions:
        print(f"{decision.verdict:14}{decision.claim.name:{width}}{decision.claim.says}")
    if arguments.difference is not None:
        for plan in planner.plans(comparison, arguments.difference):
            needed = "too many" if plan.to_find is None else plan.to_find
            print(f"{needed:>8} seeds find {arguments.difference:g} points in {plan.text}")
    sys.stderr.write(f"[compare] {STUDY_HTML} ({size / 1e6:.1f} MB)\n")


if __name__ == "__main__":
    command.finish("compare", main)
