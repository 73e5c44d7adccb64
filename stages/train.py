"""Train one operator with all its seeds, editing structure on the way."""

from plasticity import command, config, files, remarks


def main() -> dict[str, object]:
    """Write ``data/trained`` and ``reports/train``."""
    params = config.load("train")
    from plasticity import items, launch, results
    from plasticity.data import load_prepared

    work = items.stage_items(params, "train", [params.op], params.train.all_seeds)
    dataset = load_prepared(files.PREPARED)
    launch.refuse(params, work, dataset)
    command.remark("train", remarks.remarks(params, "train", len(dataset.train_labels)))
    outcomes, timing = launch.run(params, "train", work)
    results.write_train(params, dataset, outcomes)
    return timing


if __name__ == "__main__":
    command.run("train", "Train one operator with all its seeds.", main)
