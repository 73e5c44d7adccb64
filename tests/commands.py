"""Run Python as a user would: in a folder, without this process's settings."""

import os
import subprocess
import sys
from pathlib import Path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what ``python ARGUMENTS`` in a folder printed and how it ended."""
    hidden = {"DVC_ROOT", "PLASTICITY_STATE", "PYTHONPATH", "PYTHONWARNINGS"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key not in hidden},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
