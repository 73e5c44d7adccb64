"""Write an extracted network as files that need nothing of this project."""

import argparse
import sys
from pathlib import Path

from plasticity import command, files


def main() -> None:
    """Export the network of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.export",
        description="Write the network that editing left, as trained in the current experiment: "
        "network.pt and network.py (plain PyTorch), and network.onnx where ONNX is installed. "
        "Tickets cannot be had: retrain keeps their results, not their weights.",
        epilog=command.EXIT_CODES,
    )
    parser.add_argument("--seed", type=int, default=0, help="of the experiment; 0 by default")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help=f"by default {files.EXPORTED}/seed-SEED"
    )
    arguments = parser.parse_args()
    from plasticity import export  # only now, so that --help is quick

    folder = arguments.to or files.EXPORTED / f"seed-{arguments.seed}"
    sys.stderr.write(f"[export] {export.export(arguments.seed, folder)}\n")


if __name__ == "__main__":
    command.finish("export", main)
