"""Run learners inside streams of tasks."""

from plasticity import command, config, learners, remarks


def main() -> dict[str, object]:
    """Write ``reports/continual``."""
    params = config.load("continual")
    command.remark("continual", remarks.remarks(params, "continual"))
    from plasticity import items, launch, stream_results

    runs = list(learners.stream_runs(params).values())
    tried: list[items.Outcome] = []
    if runs and params.continual.tune_rates:
        tried, _ = launch.run(params, "continual", items.tuning_items(params, runs))
        runs = [stream_results.best(run, tried) for run in runs]
    outcomes, timing = launch.run(params, "continual", items.stream_items(params, runs))
    stream_results.write(params, outcomes, tried)
    return timing


if __name__ == "__main__":
    command.run("continual", "Run learners inside streams of tasks.", main)
