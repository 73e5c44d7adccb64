"""The device that computes: which one, how it is set, and the most memory that was used."""

import resource

import torch

from plasticity.errors import DeviceError


def resolve_device(wanted: str, precision: str = "float32") -> str:
    """Return ``cpu`` or ``cuda`` for ``train.device`` and ``train.precision``.

    Raises
    ------
    DeviceError
        When ``cuda`` is asked for and there is none, or found for a precision of the cpu alone.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "train.device: got cuda, but torch sees no CUDA device here; use auto or cpu"
        )
    found = "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
    if found == "cuda" and precision != "float32":
        raise DeviceError(
            f"train.device: {wanted} found cuda, but train.precision is {precision}, which is for "
            "the cpu and untried on cuda; use train.device: cpu, or train.precision: float32"
        )
    return found


def prepare_process() -> None:
    """Set what every computing process has in common: one thread, true float32, no denormals."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def peak_memory(device: str) -> int:
    """Return the most memory that one process had so far, or the device, in MiB."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF,
                                                           resource.RUSAGE_CHILDREN))  # fmt: skip
    return round(kib / 2**10)
