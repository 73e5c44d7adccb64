"""Every random draw of the project comes from here: one stream per (seed, purpose, index).

Streams are independent of each other, so adding a probe never changes training, and arms that
share a seed share initialisation, batches and tasks: every comparison is paired. Draws are made by
NumPy on the host, so that they do not depend on the device or on torch's version.
"""

import numpy as np

PURPOSES = {
    "init": 0,
    "order": 1,
    "augment": 2,
    "mask": 3,
    "edit": 4,
    "probe": 5,
    "ticket_init": 6,
    "ticket_order": 7,
    "ticket_augment": 8,
    "ticket_mask": 9,
    "task": 10,
    "stream_order": 11,
    "split": 12,
    "slope": 13,
    "curvature": 14,
    "ticket_slope": 15,
    "stream_slope": 16,
    "replay": 17,
    "perturb": 18,
}
"""Never renumber: a purpose's number is part of every result."""


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator of one seed, purpose and index.

    Parameters
    ----------
    seed
        Replicate, 0 or more.
    purpose
        A key of ``PURPOSES``.
    index
        Further coordinates, such as the epoch or the layer; each 0 or more.

    Raises
    ------
    KeyError
        For a purpose that is not in the table.
    """
    key = (PURPOSES[purpose], *index)
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))


def stream_index(layer: int, depth: int) -> int:
    """Return a layer's index in random streams: hidden layers from 0, convolutions from 100.

    So the draws of a hidden layer do not depend on whether there is a trunk.
    """
    return layer - depth if layer >= depth else 100 + layer
