"""Read a data set, check it and fix its split."""

from plasticity import command, config, files, image_folder, raw


def main() -> dict[str, object]:
    """Write ``data/prepared`` and its metrics."""
    params = config.load("prepare")
    if params.dataset == "folder":
        folder = files.image_folder(params.data.folder)
        published = image_folder.read(folder, params.data.image_size)
    else:
        published = raw.read(params.dataset)
    split = raw.split(published, params.data, params.dataset)

    import torch  # only now, so that bad parameters are told at once

    from plasticity import data

    sha256 = data.save_prepared(
        files.PREPARED,
        data.Dataset(
            train_images=torch.from_numpy(split.train_images),
            train_labels=torch.from_numpy(split.train_labels),
            validation_images=torch.from_numpy(split.validation_images),
            validation_labels=torch.from_numpy(split.validation_labels),
            test_images=torch.from_numpy(split.test_images),
            test_labels=torch.from_numpy(split.test_labels),
            classes=split.classes,
            mean=split.mean,
            std=split.std,
        ),
    )
    metrics = {
        "train_images": len(split.train_labels),
        "validation_images": len(split.validation_labels),
        "test_images": len(split.test_labels),
        "classes": len(split.classes),
        "sha256": sha256[:12],
    }
    files.write_json(files.metrics_path("prepare"), {"data": metrics})
    return {"raw": published.source}


if __name__ == "__main__":
    command.run("prepare", "Read a data set, check it and fix its split.", main)
