"""Run a study: a comparison of named conditions, each an experiment of its own."""

import argparse
import signal
from pathlib import Path

from plasticity import command, study, study_clone, study_plan, study_run


def main() -> None:
    """Run the study of the command line, or print what would be run."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.study",
        description="Run the conditions of a study that have no tables in reports/studies yet.",
        epilog=f"{command.EXIT_CODES}; 1 a condition failed (the same command tries it again)",
    )
    parser.add_argument("study", type=Path, help="such as studies/mechanism.yaml")
    option = parser.add_argument
    option("--jobs", type=int, default=1, help="conditions at a time (default: 1)")
    option("--retries", type=int, default=1, help="tries after a failure (default: 1)")
    option("--engine", choices=("loky", "dask", "ray"), default="loky", help="what runs them")
    option("--address", help="of a dask or ray cluster that shares this file system")
    option("--dry-run", action="store_true", help="print what would run, and end")
    option("--only", action="append", default=[], metavar="NAME", help="this condition; repeat it")
    arguments = parser.parse_args()
    how = (arguments.engine, arguments.address, arguments.jobs, arguments.retries)
    engine = study_run.Engine(*how)
    asked = study.read(arguments.study)
    conditions = study.select(asked, arguments.only)
    if arguments.dry_run:
        planned = study_plan.plan(asked, conditions, arguments.jobs)
        print("\n".join(planned.lines))
        study_clone.tell(planned.text())
    else:
        study_run.run(asked, conditions, engine=engine)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command.finish("study", main)
