"""A user's own images: ``train/CLASS`` and ``test/CLASS`` -> arrays of one size. No torch.

The layout is that of torchvision's ``ImageFolder``, read more strictly: what would be left out in
silence there is an error here, and all errors are told at once. Hidden files are left out. Links
are followed wherever they lead, so a split can be made of links. What a file is its content says,
not its name, and only four formats are known, none of which starts another program.
"""

import unicodedata
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from plasticity.errors import DataError
from plasticity.escapes import brief, listed, unprintable
from plasticity.files import visible
from plasticity.raw import Images, Labels, RawDataset
from plasticity.sections import nearest

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TOLD = 20
"""Errors that are listed."""
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
Classes = Mapping[str, list[Path]]
"""The images of each class, both by name."""


def read(folder: Path, size: int) -> RawDataset:
    """Return the images of a folder, in the order of their classes' names and of their own.

    Every image becomes colour (``RGB``; grey in three equal channels, transparency dropped). It is
    resized by PIL's bilinear filter, which averages where it makes smaller, so that its shorter
    side is ``size``, and cut to the square in its middle; of a long image the rest is not made.
    Turns that a camera only notes (EXIF) are not made, as in ``ImageFolder``.

    Parameters
    ----------
    folder
        Holds ``train`` and ``test``, with a folder of images for every class in both.
    size
        Height and width, in pixels.

    Raises
    ------
    DataError
        Listing all that is wrong with the folder and with its images.
    """
    errors: list[str] = []
    if not folder.is_dir():
        raise DataError(
            f"{folder}: {_no_link(folder) or 'is no folder'}; set data.folder to the one that "
            "holds train and test (a relative path starts at the project)"
        )
    train, test = _listed(folder, "train", errors), _listed(folder, "test", errors)
    if len(train) == 1:
        errors.append(f"train: got one class, {min(train)}; expected at least 2")
    if train and test:
        errors += _unpaired(train, test)
    train_images, train_labels = _pixels(folder, train, sorted(train), size, errors)
    test_images, test_labels = _pixels(folder, test, sorted(test), size, errors)
    if errors:
        noun = "error" if len(errors) == 1 else "errors"
        raise DataError(
            f"{len(errors)} {noun} in the images of {folder}\n{listed(errors, most=TOLD)}"
        )
    return RawDataset(
        train_images, train_labels, test_images, test_labels, tuple(sorted(train)), source="found"
    )


def _listed(folder: Path, part: str, errors: list[str]) -> Classes:
    """Return the images of ``train`` or ``test``; append what does not belong there."""
    if not (folder / part).is_dir():
        why = _no_link(folder / part) or "is missing"
        errors.append(f"{part}: {why}; expected a folder with a folder of images per class")
        return {}
    classes: dict[str, list[Path]] = {}
    for place in visible(folder / part):
        where = f"{part}/{brief(place.name)}"
        if not place.is_dir():
            why = _no_link(place) or "is no folder; put it into that of its class"
            errors.append(f"{where}: {why}")
            continue
        if wrong := unprintable(place.name, spaces=""):
            errors.append(f"{where}: holds the character {wrong}; give the class another name")
        if same := _same_name(place.name, classes):
            errors.append(f"{where}: {same}")
        classes[place.name] = _images(place, where, errors)
    if not classes:
        errors.append(f"{part}: has no images; expected a folder of images per class")
    return classes


def _images(place: Path, where: str, errors: list[str]) -> list[Path]:
    """Return the images of a class; append what does not belong there."""
    inside, images = visible(place), []
    for path in inside:
        if path.is_file() and path.suffix.lower() in ENDINGS:
            images.append(path)
        else:
            why = _no_link(path) or (
                f"is no image; expected files that end in {', '.join(ENDINGS)}, and no folders"
            )
            errors.append(f"{where}/{brief(path.name)}: {why}")
    if not inside:
        errors.append(f"{where}: has no images")
    return images


def _no_link(path: Path) -> str:
    """Return why a link cannot be followed, or nothing where it can or is none."""
    if not path.is_symlink():
        return ""
    try:
        path.stat()
    except OSError as error:
        return (
            f"is a link to {brief(path.readlink())}, which cannot be reached "
            f"({error.strerror}); mend the link or take it away"
        )
    return ""


def _same_name(name: str, others: Collection[str]) -> str:
    """Return of which other class this is the name in another normalisation, or nothing.

    An accented letter is one character (NFC) or a letter and its accent (NFD); both look the same,
    and systems differ in which one they write.
    """
    if name in others:
        return ""
    for other in others:
        if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name):
            return (
                f"looks like the class {other!a}, but is {name!a}: the same letters in "
                "another Unicode normalisation; give both the same name"
            )
    return ""


def _unpaired(train: Classes, test: Classes) -> list[str]:
    """Return which classes are in one part alone."""
    both = "every class needs images in both"
    told = [
        f"test/{brief(name)}: {_same_name(name, train)}"
        if _same_name(name, train)
        else f"test/{brief(name)}: train has no such class{nearest(name, train)}; {both}"
        for name in test
        if name not in train
    ]
    return told + [
        f"test/{brief(name)}: is missing; {both}"
        for name in train
        if name not in test and not _same_name(name, test)
    ]


def _pixels(
    folder: Path, classes: Classes, names: list[str], size: int, errors: list[str]
) -> tuple[Images, Labels]:
    """Return images (N, 3, size, size) and labels (N,); append what cannot be read."""
    listed = [(label, path) for label, name in enumerate(names) for path in classes[name]]
    pixels = np.zeros((len(listed), 3, size, size), dtype=np.uint8)
    for row, (_, path) in enumerate(listed):
        try:
            pixels[row] = _square(path, size)
        except MemoryError:
            raise
        except Exception as error:  # damaged files make decoders raise whatever they like
            errors.append(f"{brief(path.relative_to(folder), 300)}: {_why(error)}")
    return pixels, np.array([label for label, _ in listed], dtype=np.int64)


def _square(path: Path, size: int) -> Images:
    """Return an image as (3, size, size)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as opened:
            if opened.mode not in {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}:
                raise ValueError(f"has pixels of kind {opened.mode}; expected 8 bits per channel")
            image = opened.convert("RGBA") if "P" in opened.mode else opened
            image = image.convert("RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    square = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(square).transpose(2, 0, 1)


def _why(error: Exception) -> str:
    """Return why an image cannot be read, and what to do."""
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return (
            f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, PIL's limit against files that "
            "unpack without end; make it smaller"
        )
    cause = brief(" ".join(str(error).split()), 300) or type(error).__name__
    return f"cannot be read ({cause}); replace it or take it away"
