"""Read CIFAR's pickles as data: whatever they name stays inert. No torch."""

import io
import pickle
from typing import Any

BROKEN_PICKLE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    OverflowError,
    TypeError,
    ValueError,
)


class Inert:
    """Stands in for what a pickle names, and does nothing but keep what it is given."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    """Reads plain containers, bytes and numbers; NumPy's three names become inert."""

    def find_class(self, module: str, name: str) -> type[Inert]:
        if (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            return Inert
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no data need")


def load_inert(content: bytes) -> Any:
    """Return what a pickle holds; nothing that it names is imported or called.

    Raises
    ------
    pickle.UnpicklingError
        When it names anything but NumPy's arrays; damaged bytes raise any of ``BROKEN_PICKLE``.
    """
    return _InertUnpickler(io.BytesIO(content), encoding="bytes").load()
