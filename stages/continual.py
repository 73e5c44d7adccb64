"""Run learners inside streams of tasks."""

from plasticity import command, config, files, learners, remarks


def main() -> dict[str, object]:
    """Write ``reports/continual``."""
    params = config.load("continual")
    from plasticity import items, launch, stream_results
    from plasticity.data import load_prepared

    runs = list(learners.stream_runs(params).values())
    trials = items.tuning_items(params, runs) if params.continual.tune_rates else []
    everything = [*trials, *items.stream_items(params, runs)]
    launch.refuse(params, everything, load_prepared(files.PREPARED))
    command.remark("continual", remarks.remarks(params, "continual"))
    tried: list[items.Outcome] = []
    if trials:
        tried, _ = launch.run(params, "continual", trials)
        runs = [stream_results.best(run, tried) for run in runs]
    outcomes, timing = launch.run(params, "continual", items.stream_items(params, runs))
    stream_results.write(params, outcomes, tried)
    return timing


if __name__ == "__main__":
    command.run("continual", "Run learners inside streams of tasks.", main)
