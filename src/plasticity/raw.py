"""Raw data sets: found or downloaded, checked, parsed, and split once and for all. No torch.

A file is parsed only when its MD5 is the one in ``MD5``, and the very bytes that were summed are
the ones that are parsed. CIFAR's pickles are moreover read without running anything they name.
"""

import contextlib
import gzip
import hashlib
import http.client
import math
import pickle
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from plasticity import rng, sections, subset
from plasticity.errors import ConfigError, DataError
from plasticity.files import REMEDIES, data_root, storage_error
from plasticity.inert import BROKEN_PICKLE, load_inert

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
NUMERALS = tuple("0123456789")
PATIENCE = 60.0
"""Seconds without a byte after which a download is given up."""


@dataclass(frozen=True)
class _Source:
    """Where torchvision puts a data set, and under which name torchvision knows it."""

    torchvision: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    label_key: bytes = b""
    class_key: bytes = b""

    @property
    def files(self) -> tuple[str, ...]:
        """All files, by path below the root of raw data; an idx file may have ``.gz`` behind."""
        return tuple(f"{self.folder}/{name}" for name in (*self.train, *self.test, *self.meta))


_IDX_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_IDX_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

IDX = MappingProxyType(
    {
        "mnist": _Source("MNIST", "MNIST/raw", _IDX_TRAIN, _IDX_TEST, classes=NUMERALS),
        "fashion_mnist": _Source(
            "FashionMNIST", "FashionMNIST/raw", _IDX_TRAIN, _IDX_TEST, classes=CLOTHES
        ),
    }
)
CIFAR = MappingProxyType(
    {
        "cifar10": _Source(
            "CIFAR10",
            "cifar-10-batches-py",
            train=tuple(f"data_batch_{number}" for number in range(1, 6)),
            test=("test_batch",),
            meta=("batches.meta",),
            label_key=b"labels",
            class_key=b"label_names",
        ),
        "cifar100": _Source(
            "CIFAR100",
            "cifar-100-python",
            train=("train",),
            test=("test",),
            meta=("meta",),
            label_key=b"fine_labels",
            class_key=b"fine_label_names",
        ),
    }
)

MD5 = {
    "MNIST/raw/train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "MNIST/raw/train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "MNIST/raw/t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "MNIST/raw/t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "FashionMNIST/raw/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "FashionMNIST/raw/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "FashionMNIST/raw/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    "cifar-10-batches-py/data_batch_1": "c99cafc152244af753f735de768cd75f",
    "cifar-10-batches-py/data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "cifar-10-batches-py/data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "cifar-10-batches-py/data_batch_4": "634d18415352ddfa80567beed471001a",
    "cifar-10-batches-py/data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "cifar-10-batches-py/test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-batches-py/batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    "cifar-100-python/train": "16019d7e3df5f24257cddd939b257f8d",
    "cifar-100-python/test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "cifar-100-python/meta": "7973b15100ade9c7d40fb424638fde48",
}
"""The publishers' sums, as torchvision states them. Those of idx files without ``.gz`` are nowhere
published; they were computed from files whose ``.gz`` had the published sum."""


@dataclass(frozen=True)
class RawDataset:
    """A data set as it was published.

    Images are (N, C, H, W); ``source`` is ``embedded``, ``found`` or ``downloaded``.
    """

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Split:
    """A data set put in its fixed order, images for validation put aside.

    ``mean`` and ``std`` are per channel, of the training images in [0, 1].
    """

    train_images: Images
    train_labels: Labels
    validation_images: Images
    validation_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read(name: str) -> RawDataset:
    """Return a data set, checked; download it when its files are not there.

    Parameters
    ----------
    name
        A key of ``catalogue.DATASETS``, but for ``folder`` (``image_folder.read``).

    Raises
    ------
    DataError
        When files are missing and cannot be downloaded, or a file is not what its MD5 says.
    """
    if name == "digits":
        return _read_digits()
    source = IDX[name] if name in IDX else CIFAR[name]
    root = data_root()
    missing = [file for file in source.files if _find(root, file) is None]
    if missing:
        _download(name, source, root, missing)
    arrays = _read_idx(source, root) if name in IDX else _read_cifar(source, root)
    return RawDataset(*arrays, source="downloaded" if missing else "found")


def split(raw: RawDataset, data: sections.Data, name: str) -> Split:
    """Return the fixed split of a data set: the same for every seed, so runs are comparable.

    Training images are put in a fixed random order. With ``data.subset: random`` the first
    ``data.validation`` are put aside and the next ``data.train_images`` are kept; with
    ``stratified`` every class gives its share to both, at least one image. All test images are
    kept, in a fixed random order too, so that any first few are a fair sample: MNIST's test set
    begins with its easier half.

    Parameters
    ----------
    raw
        The data set as it was published.
    data
        How many images to keep.
    name
        Name of the data set, for messages.

    Raises
    ------
    ConfigError
        When more images are asked for than there are, when a class has no image in one of the
        parts, or when images cannot be standardised.
    """
    total = len(raw.train_labels)
    left = total - data.validation
    count = left if data.train_images == "all" else data.train_images
    if left < 1:
        raise ConfigError(
            f"data.validation: got {data.validation}, but {name} has {total} training images; "
            f"put at most {total - 1} aside"
        )
    if count > left:
        raise ConfigError(
            f"data.train_images: got {count} with data.validation {data.validation}, but {name} "
            f"has {total} training images; use at most {left}, or all"
        )
    order = rng.stream(0, "split").permutation(total)
    aside = subset.part(raw.train_labels, order, data.validation, data.subset)
    used = subset.part(raw.train_labels, order[~np.isin(order, aside)], count, data.subset)
    _refuse_lost_classes(raw, aside, "validation", data)
    _refuse_lost_classes(raw, used, "train_images", data)
    test = rng.stream(0, "split", 1).permutation(len(raw.test_labels))
    train_images = raw.train_images[used]
    moments = [
        _mean_and_std(train_images[:, channel]) if data.pixels == "standardised" else (0.0, 1.0)
        for channel in range(train_images.shape[1])
    ]
    if flat := [channel for channel, (_, std) in enumerate(moments) if std == 0]:
        raise ConfigError(
            f"data.pixels: channel {flat[0]} has one value in all {count} training images of "
            f"{name}, so it cannot be standardised; use unit"
        )
    return Split(
        train_images=train_images,
        train_labels=raw.train_labels[used],
        validation_images=raw.train_images[aside],
        validation_labels=raw.train_labels[aside],
        test_images=raw.test_images[test],
        test_labels=raw.test_labels[test],
        classes=raw.classes,
        mean=tuple(mean for mean, _ in moments),
        std=tuple(std for _, std in moments),
    )


def _refuse_lost_classes(raw: RawDataset, kept: Labels, key: str, data: sections.Data) -> None:
    """Refuse a part in which a class has no image: nobody could learn it, or be tested on it."""
    lost = subset.lost(raw.train_labels[kept], raw.classes)
    if len(kept) == 0 or not lost:  # nothing was asked for
        return
    if len(kept) < len(raw.classes):
        way = f"use at least {len(raw.classes)} images"
    elif data.subset == "random":
        way = "set data.subset to stratified, which keeps every class"
    else:
        way = "they have too few training images; put fewer aside by data.validation"
    raise ConfigError(
        f"data.{key}: got {len(kept)}, but these have {subset.told(lost, len(raw.classes))}; {way}"
    )


def _mean_and_std(pixels: Images) -> tuple[float, float]:
    """Return both for pixels scaled to [0, 1], from exact integer sums: alike on every machine."""
    wide = pixels.astype(np.uint16)
    total, squares = int(wide.sum(dtype=np.int64)), int((wide * wide).sum(dtype=np.int64))
    return (
        total / (255 * pixels.size),
        math.sqrt(pixels.size * squares - total * total) / (255 * pixels.size),
    )


def _read_digits() -> RawDataset:
    """Return scikit-learn's digits, a fifth of each class as test images.

    Every fifth image of a random order that is then sorted by class is a stratified sample: each
    class gives a fifth of its images, rounded to one side or the other; 360 of 1,797 in all.
    """
    from sklearn.datasets import load_digits  # 1.4 s, and only this data set needs it

    bunch = load_digits()
    images = np.rint(bunch.images[:, np.newaxis] * 255 / 16).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    order = rng.stream(0, "split", 2).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[by_class[::5]] = True
    return RawDataset(
        images[~is_test],
        labels[~is_test],
        images[is_test],
        labels[is_test],
        classes=NUMERALS,
        source="embedded",
    )


def _find(root: Path, file: str) -> str | None:
    """Return the name under which a file is there: the published ``.gz`` before its content."""
    names = [name for name in (f"{file}.gz", file) if name in MD5]
    return next((name for name in names if (root / name).is_file()), None)


def _verified(root: Path, file: str) -> bytes:
    content = (root / file).read_bytes()
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != MD5[file]:
        raise DataError(
            f"{root / file}: is not the published file: got MD5 {got}, expected {MD5[file]}; "
            "delete it and run again"
        )
    return content


def _read_idx(
    source: _Source, root: Path
) -> tuple[Images, Labels, Images, Labels, tuple[str, ...]]:
    train_images, train_labels, test_images, test_labels = (
        _parse_idx(root, file) for file in source.files
    )
    return (
        train_images[:, np.newaxis],
        train_labels.astype(np.int64),
        test_images[:, np.newaxis],
        test_labels.astype(np.int64),
        source.classes,
    )


def _parse_idx(root: Path, file: str) -> Images:
    """Return an idx file's array: two zeros, the type, the number of axes, their sizes, bytes."""
    found = _find(root, file) or file
    content = _verified(root, found)
    if found.endswith(".gz"):
        content = gzip.decompress(content)
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


def _read_cifar(
    source: _Source, root: Path
) -> tuple[Images, Labels, Images, Labels, tuple[str, ...]]:
    def batches(names: tuple[str, ...]) -> tuple[Images, Labels]:
        parts = [_parse_batch(root, f"{source.folder}/{name}", source.label_key) for name in names]
        images = np.concatenate([images for images, _ in parts]).reshape(-1, 3, 32, 32)
        return images, np.concatenate([labels for _, labels in parts])

    (meta,) = source.meta
    with _only_data(root, file := f"{source.folder}/{meta}"):
        names = load_inert(_verified(root, file))[source.class_key]
        classes = tuple(name.decode("ascii") for name in names)
    return (*batches(source.train), *batches(source.test), classes)


def _parse_batch(root: Path, file: str, label_key: bytes) -> tuple[Images, Labels]:
    with _only_data(root, file):
        entry = load_inert(_verified(root, file))
        _, shape, dtype, fortran_order, content = entry[b"data"].state
        if dtype.arguments[0] != b"u1" or fortran_order:
            raise pickle.UnpicklingError("its images are not rows of bytes")
        return (
            np.frombuffer(content, np.uint8).reshape(shape),
            np.array(entry[label_key], dtype=np.int64),
        )


@contextlib.contextmanager
def _only_data(root: Path, file: str) -> Iterator[None]:
    """Turn what bytes that are no CIFAR pickle can raise into a DataError."""
    try:
        yield
    except BROKEN_PICKLE as error:
        raise DataError(
            f"{root / file}: is not a CIFAR file ({error}); expected a pickle of plain data; "
            "nothing that it names was run; delete it and run again"
        ) from error


def _download(name: str, source: _Source, root: Path, missing: list[str]) -> None:
    """Put a data set's files in place once all of them have arrived, so that none is ever half."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
            _fetch(source, Path(temporary))
            (root / source.folder).mkdir(parents=True, exist_ok=True)
            for file in source.files:
                found = _find(Path(temporary), file) or file
                (Path(temporary) / found).replace(root / found)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in REMEDIES:
            raise storage_error(root / source.folder, error) from error
        ending = "[.gz]" if name in IDX else ""
        files = ", ".join(Path(file).name + ending for file in missing)
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{root / source.folder}: files of {name} are missing ({files}) and could not be "
            f"downloaded ({cause}); either set PLASTICITY_DATA to a folder that holds "
            f"{source.folder} with these files, or run once with a network"
        ) from error


def _fetch(source: _Source, folder: Path) -> None:
    """Download through torchvision, without its loader, which would unpickle what it got."""
    from torchvision import datasets  # 5 s, and needed only once per machine
    from torchvision.datasets.utils import download_and_extract_archive, download_url

    known = getattr(datasets, source.torchvision)
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        if source.meta:
            download_and_extract_archive(
                known.url, folder, filename=known.filename, md5=known.tgz_md5
            )
            return
        for file, md5 in known.resources:
            for mirror in known.mirrors:
                try:
                    download_url(mirror + file, folder / source.folder, md5=md5)
                    break
                except (OSError, RuntimeError) as error:
                    failed = error
            else:
                raise failed
    finally:
        socket.setdefaulttimeout(patience)
