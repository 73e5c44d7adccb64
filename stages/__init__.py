"""The pipeline's stages: thin scripts over ``plasticity``, run as ``python -m stages.NAME``.

The library is taken from this checkout, never from an installed copy, so that a temporary
workspace of DVC runs the code whose hash it records. This is the first line of the project that
runs in a stage and in its workers, so here a process is bound to the life of its parent.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from plasticity import lifeline

lifeline.join()
