"""Extract every seed's alive units as a network of their own, and check that it is equal."""

from plasticity import command, config, files


def main() -> dict[str, object]:
    """Write ``data/subnetworks`` and ``reports/extract``."""
    params = config.load("extract")
    from plasticity import device, extraction
    from plasticity.data import load_prepared

    device.prepare_process()
    dataset = load_prepared(files.PREPARED)
    with files.fresh_folder(files.SUBNETWORKS) as folder:
        return extraction.extract_all(params, dataset, folder)


if __name__ == "__main__":
    command.run("extract", "Extract the alive units as networks of their own.", main)
