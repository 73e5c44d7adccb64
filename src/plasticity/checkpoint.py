"""States on disk: whole or absent, checked before use, and unable to run code.

A checkpoint is one safetensors file whose name ends in the hash of its content. The two newest are
kept, so that a damaged one falls back to the one before.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
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
    named: dict[str, torch.Tensor] = {}
    if progress:
        named["progress"] = torch.frombuffer(bytearray(progress), dtype=torch.uint8)
    for kind, weights in (
        ("weights", state.weights),
        *((f"moment{index}", moment) for index, moment in enumerate(state.moments)),
    ):
        for part in ("filters", "filter_bias", "incoming", "bias"):
            for layer, tensor in enumerate(getattr(weights, part)):
                named[f"{kind}.{part}.{layer}"] = tensor
    for layer, units in enumerate(state.units):
        named |= {f"units.{layer}.{name}": tensor for name, tensor in vars(units).items()}
    named |= {"shared_step": state.shared_step, "diverged": state.diverged}
    return safetensors.torch.save(
        {name: tensor.cpu().contiguous() for name, tensor in named.items()}, dict(metadata)
    )


def unpack(content: bytes, device: torch.device) -> tuple[State, dict[str, str], bytes]:
    """Return what ``pack`` was given."""
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
    """Write a checkpoint and forget all but the newest two.

    Raises
    ------
    StorageError
        When it cannot be written; the older ones are still there.
    """
    progress = json.dumps(checkpoint.progress).encode()
    content = pack(checkpoint.state, {"step": str(checkpoint.step)}, progress)
    digest = hashlib.sha256(content).hexdigest()[:32]
    files.write_bytes(folder / f"step-{checkpoint.step:012d}-{digest}.safetensors", content)
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink(missing_ok=True)


def load(folder: Path, device: torch.device) -> Checkpoint | None:
    """Return the newest whole checkpoint of a folder, or None; damaged ones are passed over."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:32] != path.stem.rpartition("-")[2]:
            continue
        state, metadata, progress = unpack(content, device)
        return Checkpoint(int(metadata["step"]), state, json.loads(progress))
    return None
