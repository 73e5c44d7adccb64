"""Write the report of this experiment."""

import sys

from plasticity import command
from plasticity.files import REPORT_HTML


def main() -> dict[str, object]:
    """Write ``reports/report.html`` and ``reports/figures``."""
    from plasticity.report import inputs, page  # only now, so that --help is quick

    size = page.write(inputs.read())
    sys.stderr.write(f"[report] {REPORT_HTML} ({size / 1e6:.1f} MB)\n")
    return {"bytes": size}


if __name__ == "__main__":
    command.run("report", "Write the report of this experiment.", main)
