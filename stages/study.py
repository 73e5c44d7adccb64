"""Run a study: a comparison of named conditions, each an experiment of its own."""

import argparse
import signal
import sys
from pathlib import Path

from plasticity import command, study, study_plan, study_run
from plasticity.errors import Interrupted, PlasticityError


def at_least_one(text: str) -> int:
    """Return a number of jobs."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer of at least 1")
    return int(text)


def main() -> None:
    """Run the study of the command line, or print what would be run."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.study",
        description="Run the conditions of a study that have no tables in reports/studies yet.",
        epilog=f"{command.EXIT_CODES}; 1 a condition failed (the same command tries it again)",
    )
    parser.add_argument("study", type=Path, help="such as studies/mechanism.yaml")
    parser.add_argument(
        "--jobs", type=at_least_one, default=1, help="conditions at a time; one uses all cores"
    )
    parser.add_argument(
        "--engine", choices=("loky", "dask", "ray"), default="loky", help="who runs conditions"
    )
    parser.add_argument("--address", help="of a dask or ray cluster that shares this file system")
    parser.add_argument("--dry-run", action="store_true", help="only print what is there")
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION")
    arguments = parser.parse_args()
    asked = study.read(arguments.study)
    conditions = study.select(asked, arguments.only)
    if arguments.dry_run:
        planned = study_plan.plan(asked, conditions, arguments.jobs)
        print("\n".join(planned.lines))
        sys.stderr.write(f"[study] {planned.text()}\n")
    else:
        engine = study_run.Engine(arguments.engine, arguments.address)
        study_run.run(asked, conditions, jobs=arguments.jobs, engine=engine)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.stderr.write("[study] stopped; run the same command to continue\n")
        sys.exit(Interrupted.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the list has read enough
    except PlasticityError as error:
        sys.stderr.write(f"[study] {error}\n")
        sys.exit(error.exit_code)
