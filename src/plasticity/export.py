"""An extracted network as files that need nothing of this project: PyTorch's, or ONNX.

``network.pt`` holds tensors alone, the state of a plain ``nn.Sequential``. ``network.py`` builds it
and loads them; its classes are the very text of those that the library runs, so its logits are the
same bits.
"""

import importlib.util
import inspect
import io
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plasticity import files, tables
from plasticity.errors import CheckError, ConfigError
from plasticity.escapes import integer, number, text
from plasticity.subnetwork import CReLU, SmoothLeaky, Subnetwork, load_subnetwork

ONNX_PACKAGES = ("onnx", "onnxscript")
"""What ``torch.onnx`` needs."""


class Network(nn.Module):
    """Images (B, C, H, W), uint8 or in [0, 1] -> logits (B, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, layers: nn.Sequential, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Standardise as in training, then apply the layers."""
        pixels = images / 255 if images.dtype == torch.uint8 else images
        logits: Tensor = self.layers((pixels - self.mean) / self.std)
        return logits


_OWN = {"crelu": CReLU, "smooth_leaky": SmoothLeaky}
"""Layers that PyTorch has not."""


def _given(escape: Callable[[Any], str], layer: Mapping[str, Any], *names: str) -> str:
    """Return values of a layer as arguments of a call."""
    return ", ".join(escape(layer[name]) for name in names)


_TEXT: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "conv3x3": lambda layer: (
        f"nn.Conv2d({_given(integer, layer, 'inputs', 'outputs')}, 3, padding=1)"
    ),
    "maxpool2x2": lambda layer: "nn.MaxPool2d(2)",  # noqa: ARG005 (every kind's form)
    "flatten": lambda layer: "nn.Flatten()",  # noqa: ARG005
    "linear": lambda layer: f"nn.Linear({_given(integer, layer, 'inputs', 'outputs')})",
    "layer_norm": lambda layer: (
        f"nn.LayerNorm({_given(integer, layer, 'width')}, eps={_given(number, layer, 'eps')}, "
        "elementwise_affine=False)"
    ),
    "relu": lambda layer: "nn.ReLU()",  # noqa: ARG005
    "leaky_relu": lambda layer: f"nn.LeakyReLU({_given(number, layer, 'slope')})",
    "gelu": lambda layer: "nn.GELU()",  # noqa: ARG005
    "crelu": lambda layer: "CReLU()",  # noqa: ARG005
    "smooth_leaky": lambda layer: f"SmoothLeaky({_given(number, layer, 'slope', 'rate')})",
}
"""Each kind of ``arch.json`` as a constructor's call; every value through an escape."""

_MODULE = '''"""The network of seed {seed}, {units} units: plain PyTorch, no other package.

    from network import load

    logits = load()(images)  # images (B, {image}): uint8, or floats in [0, 1]
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES = {classes}
IMAGE = ({image})  # channels, height, width
MEAN = {mean}  # of each channel of the training images in [0, 1]
STD = {std}


{own}


def layers() -> nn.Sequential:
    """Return the layers, untrained; they read standardised images."""
    return nn.Sequential(
        OrderedDict(
            [
{lines}
            ]
        )
    )


def load(path: Path = Path(__file__).with_name("network.pt")) -> Network:
    """Return the trained network, as it is evaluated."""
    built = layers()
    built.load_state_dict(torch.load(path, weights_only=True))
    return Network(built, MEAN, STD).eval()
'''


def export(seed: int, folder: Path) -> str:
    """Write the extracted network of a seed as ``network.pt``, ``network.py``, ``network.onnx``.

    Parameters
    ----------
    seed
        Of the experiment whose results are in the workspace.
    folder
        Takes the files; others in it are left alone.

    Returns
    -------
    str
        What was written, and, where ONNX was left out, what it needs.

    Raises
    ------
    ConfigError
        When there is no such seed.
    CheckError
        When the seed diverged.
    DataError
        When the experiment has not been run, or its files are damaged.
    StorageError
        When a file cannot be written.
    """
    _check(seed)
    extracted = load_subnetwork(files.subnetwork_path(seed))
    code = module_text(extracted, seed)
    weights = io.BytesIO()
    torch.save(dict(extracted.module.state_dict()), weights)
    files.write_bytes(folder / "network.pt", weights.getvalue())
    files.write_text(folder / "network.py", code)
    (folder / "network.onnx").unlink(missing_ok=True)  # of other weights
    written = f"{folder}: network.pt, network.py"
    if missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]:
        return f"{written}; no network.onnx, for which pip install {' '.join(missing)}"
    files.write_bytes(folder / "network.onnx", onnx_bytes(extracted))
    return f"{written}, network.onnx"


def _check(seed: int) -> None:
    """Refuse a seed that is not there or has no result."""
    table = tables.read_table("train", "seeds")
    status = dict(zip(table["seed"], table["status"], strict=True))
    if seed not in status:
        raise ConfigError(
            f"--seed: got {seed}, but the experiment has seeds {min(status)} to {max(status)}"
        )
    if status[seed] != "ok":
        good = [int(other) for other, found in status.items() if found == "ok"]
        raise CheckError(f"--seed: seed {seed} is '{status[seed]}', no result; take one of {good}")


def standardising(extracted: Subnetwork) -> Network:
    """Return an extracted network with its standardisation before it."""
    return Network(extracted.module, extracted.mean, extracted.std).eval()


def module_text(extracted: Subnetwork, seed: int) -> str:
    """Return ``network.py`` of a network; the seed stands in its first line."""
    layers = extracted.layers
    own = [_OWN[kind] for kind in sorted({str(layer["kind"]) for layer in layers} & {*_OWN})]
    texts = [inspect.getsource(part).strip() for part in (*own, Network)]
    image = ", ".join(map(integer, extracted.architecture.image))
    calls = [f"({text(one['name'])}, {_TEXT[str(one['kind'])](one)})," for one in layers]
    return _MODULE.format(
        seed=integer(seed),
        units="-".join(map(integer, extracted.architecture.units)),
        image=image,
        classes=_tuple(text, extracted.classes),
        mean=_tuple(number, extracted.mean),
        std=_tuple(number, extracted.std),
        own="\n\n\n".join(texts),
        lines=textwrap.indent("\n".join(calls), " " * 16),
    )


def _tuple(escape: Callable[[Any], str], values: Sequence[Any]) -> str:
    """Return a tuple as Python text."""
    return f"({', '.join(map(escape, values))}{',' * (len(values) == 1)})"


def onnx_bytes(extracted: Subnetwork) -> bytes:
    """Return an ONNX model: ``images`` uint8 (B, C, H, W) -> ``logits`` (B, classes), any B."""
    example = torch.zeros((2, *extracted.architecture.image), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own future
        program = torch.onnx.export(
            standardising(extracted),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
