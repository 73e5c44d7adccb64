"""Say what would go wrong here, and the command that mends it."""

import argparse
import sys

from plasticity import command, doctor


def main() -> None:
    """Print a line for each check; end with 1 when one fails."""
    argparse.ArgumentParser(
        prog="python -m stages.doctor",
        description="Say what would go wrong here, and the command that mends it.",
        epilog=f"{command.EXIT_CODES}; 1 a check failed",
    ).parse_args()
    found = doctor.examine()
    for one in found:
        print(f"{one.level:5}{one.check:13}{one.text}")
    sys.exit(any(one.level == "fail" for one in found))


if __name__ == "__main__":
    command.finish("doctor", main)
