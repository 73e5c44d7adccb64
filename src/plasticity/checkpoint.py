"""States on disk: whole or absent, checked before use, and unable to run code.

A checkpoint is one safetensors file whose name ends in the hash of its content, and which says
whose it is: the key of its run and its item, the names of the two folders that it lies in. The two
newest are kept, so that one that cannot be used falls back to the one before.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from plasticity import files
from plasticity.state import State, Units
from plasticity.weights import Weights

KEPT = 2
NAME = re.compile(r"step-(\d{12})-([0-9a-f]{32})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: its networks and what it has written down so far."""

    step: int
    state: State
    progress: dict[str, Any]
    """Plain JSON: records and running sums."""


def pack(state: State, metadata: Mapping[str, str], progress: bytes = b"") -> bytes:
    """Return a state as the bytes of a safetensors file, perhaps with what was written down.

    That is a tensor of bytes: metadata are in the header, which may not be large.
    """
    named = _named(state)
    if progress:
        named["progress"] = torch.frombuffer(bytearray(progress), dtype=torch.uint8)
    return safetensors.torch.save(
        {name: tensor.cpu().contiguous() for name, tensor in named.items()}, dict(metadata)
    )


def layout(state: State) -> dict[str, str]:
    """Return name -> type and shape of every tensor of a state: what two of one job agree in."""
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        for name, tensor in _named(state).items()
    }


def _named(state: State) -> dict[str, torch.Tensor]:
    named: dict[str, torch.Tensor] = {}
    for kind, weights in (
        ("weights", state.weights),
        *((f"moment{index}", moment) for index, moment in enumerate(state.moments)),
    ):
        for part in ("filters", "filter_bias", "incoming", "bias"):
            for layer, tensor in enumerate(getattr(weights, part)):
                named[f"{kind}.{part}.{layer}"] = tensor
    for layer, units in enumerate(state.units):
        named |= {f"units.{layer}.{name}": tensor for name, tensor in vars(units).items()}
    return named | {"shared_step": state.shared_step, "diverged": state.diverged}


def unpack(content: bytes, device: torch.device) -> tuple[State, dict[str, str], bytes]:
    """Return what ``pack`` was given.

    Raises
    ------
    ValueError
        When the bytes are no state, whatever they are.
    """
    try:
        return _unpack(content, device)
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError, RecursionError) as no:
        raise ValueError(f"it holds no state: {' '.join(str(no).split())[:200]}") from no


def _unpack(content: bytes, device: torch.device) -> tuple[State, dict[str, str], bytes]:
    stored = safetensors.torch.load(content)
    progress = stored.pop("progress", torch.empty(0, dtype=torch.uint8)).numpy().tobytes()
    named = {name: tensor.to(device) for name, tensor in stored.items()}

    def layers(prefix: str) -> tuple[torch.Tensor, ...]:
        count = sum(name.startswith(f"{prefix}.") for name in named)
        return tuple(named[f"{prefix}.{layer}"] for layer in range(count))

    def weights(kind: str) -> Weights:
        parts = ("filters", "filter_bias", "incoming", "bias")
        return Weights(*(layers(f"{kind}.{part}") for part in parts))

    fields = [field.name for field in dataclasses.fields(Units)]
    moments = sum(f"moment{index}.bias.0" in named for index in range(2))
    state = State(
        weights=weights("weights"),
        moments=tuple(weights(f"moment{index}") for index in range(moments)),
        units=tuple(
            Units(**{name: named[f"units.{layer}.{name}"] for name in fields})
            for layer in range(sum(name.endswith(".alive") for name in named))
        ),
        shared_step=named["shared_step"],
        diverged=named["diverged"],
    )
    header = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + header]).get("__metadata__", {})
    return state, metadata, progress


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and forget all but it and the newest before it.

    Raises
    ------
    StorageError
        When it cannot be written; the older ones are still there.
    """
    metadata = _owner(folder) | {"step": str(checkpoint.step)}
    content = pack(checkpoint.state, metadata, json.dumps(checkpoint.progress).encode())
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = folder / f"step-{checkpoint.step:012d}-{digest}.safetensors"
    files.write_bytes(path, content)
    for old in [found for found in _newest_first(folder) if found.name <= path.name][KEPT:]:
        old.unlink(missing_ok=True)


def load(
    folder: Path,
    device: torch.device,
    tell: Callable[[str], object],
    misfit: Callable[[Checkpoint], str | None] = lambda _: None,
) -> Checkpoint | None:
    """Return the newest checkpoint of a folder that can be used, or None.

    Parameters
    ----------
    folder
        Named by the item, in one that is named by the key of its run.
    device
        Takes the tensors.
    tell
        Called with a line for every checkpoint that was passed over: which, why, and what it costs.
    misfit
        Returns why a checkpoint is not of the job at hand, or None.
    """
    refused: list[tuple[Path, str]] = []
    found = None
    for path in _newest_first(folder):
        try:
            found = _read(path, device)
            why = misfit(found)
        except (ValueError, OSError) as error:
            why = str(error)
        if why is None:
            break
        refused.append((path, why))
        found = None
    for path, why in refused:
        tell(f"{path}: not used ({why}); {_cost(path, found)}")
    return found


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _owner(folder: Path) -> dict[str, str]:
    """Return whose the checkpoints of a folder are."""
    whole = folder.absolute()
    return {"key": whole.parent.name, "item": whole.name}


def _read(path: Path, device: torch.device) -> Checkpoint:
    """Return a checkpoint that is whole and lies where it belongs.

    Raises
    ------
    ValueError, OSError
        Saying what is wrong with it.
    """
    if (name := NAME.fullmatch(path.name)) is None:
        raise ValueError("its name is not one of ours, step-STEP-HASH")
    content = path.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()[:32]) != name[2]:
        raise ValueError(f"it is damaged: the hash of its content is {digest}")
    state, metadata, progress = unpack(content, device)
    expected = _owner(path.parent) | {"step": str(int(name[1]))}
    if metadata != expected:
        told = [f"{key} {metadata.get(key)}, expected {expected[key]}" for key in expected]
        raise ValueError(f"it is of another run: {'; '.join(told)}"[:400])
    written = json.loads(progress)
    if not isinstance(written, dict):
        raise ValueError("what it wrote down is no mapping")
    return Checkpoint(int(name[1]), state, written)


def _cost(path: Path, found: Checkpoint | None) -> str:
    """Return what is computed again for want of a checkpoint."""
    name = NAME.fullmatch(path.name)
    step = 0 if found is None else found.step
    lost = "what came later is" if name is None else f"{int(name[1]) - step:,} steps are"
    return f"{lost} computed again, from {f'step {step:,}' if step else 'the beginning'} on"
