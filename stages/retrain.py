"""Train the extracted networks from scratch, beside their controls."""

from plasticity import command, config, files, remarks


def main() -> dict[str, object]:
    """Write ``reports/retrain``."""
    params = config.load("retrain")
    from plasticity import items, launch, results
    from plasticity.data import load_prepared
    from plasticity.tables import read_table

    trained = read_table("train", "seeds")
    whole = trained[trained["status"] == "ok"]
    cycle_acc = dict(zip(whole["seed"], whole["cycle_acc"], strict=True))
    work = items.stage_items(params, "retrain", params.retrain.variants, params.train.all_seeds)
    dataset = load_prepared(files.PREPARED)
    launch.refuse(params, work, dataset)
    command.remark("retrain", remarks.remarks(params, "retrain", len(dataset.train_labels)))
    outcomes, timing = launch.run(params, "retrain", work)
    results.write_retrain(params, dataset, outcomes, cycle_acc)
    return timing


if __name__ == "__main__":
    command.run("retrain", "Train the extracted networks from scratch.", main)
