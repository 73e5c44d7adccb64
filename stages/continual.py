"""Run the operator inside streams of tasks."""

from plasticity import command, config


def main() -> dict[str, object]:
    """Write ``reports/continual``."""
    params = config.load("continual")
    from plasticity import launch, results

    streams = params.continual.streams
    work = launch.items(params, "continual", streams, params.continual.seeds)
    outcomes, timing = launch.run(params, "continual", work)
    results.write_continual(params, outcomes)
    return timing


if __name__ == "__main__":
    command.run("continual", "Run the operator inside streams of tasks.", main)
