"""A user's own images: their order, their pixels, and all that can be wrong with a folder."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from test_raw import asked, copy_params

from plasticity import config, files, image_folder, raw
from plasticity.errors import ConfigError, DataError
from plasticity.yaml12 import read_yaml


def noise(seed, height=20, width=20, channels=3):
    """Return pixels (height, width, channels)."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (height, width, channels), dtype=np.uint8)


def put(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path, **options)


def make_folder(folder, classes=("cat", "dog", "eel"), train=4, test=2, size=20):
    """Write a folder of images; those of class k are brighter the larger k is."""
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            for number in range(count):
                seed = 1000 * label + 10 * number + (part == "test")
                pixels = noise(seed, size, size) // 4 + 60 * label
                put(folder / part / name / f"{number}.png", pixels.astype(np.uint8))
    return folder


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "images")


def told(folder, size=16):
    """Return the lines of the error that a folder gives."""
    with pytest.raises(DataError) as caught:
        image_folder.read(folder, size)
    return str(caught.value).splitlines()


# what is read


def test_classes_and_images_come_in_the_order_of_their_names(folder):
    got = image_folder.read(folder, 20)
    assert got.classes == ("cat", "dog", "eel")
    assert got.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert got.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (got.train_images.shape, got.train_images.dtype) == ((12, 3, 20, 20), np.uint8)
    assert got.source == "found"
    expected = np.asarray(Image.open(folder / "train" / "dog" / "2.png")).transpose(2, 0, 1)
    assert np.array_equal(got.train_images[6], expected)


def test_the_layout_is_that_of_torchvision(folder):
    from torchvision.datasets import ImageFolder

    got = image_folder.read(folder, 20)
    for part in ("train", "test"):
        theirs = ImageFolder(folder / part)
        assert tuple(theirs.classes) == got.classes
        assert theirs.targets == getattr(got, f"{part}_labels").tolist()
        pixels = np.stack([np.asarray(image) for image, _ in theirs]).transpose(0, 3, 1, 2)
        assert np.array_equal(pixels, getattr(got, f"{part}_images"))


@pytest.mark.parametrize(("height", "width"), [(32, 96), (64, 32), (16, 16), (48, 8)])
def test_images_are_resized_and_cut_as_torchvision_does(folder, height, width):
    """Resize, which is bilinear and antialiased on PIL images, then CenterCrop; PIL rounds."""
    from torchvision.transforms import v2

    put(folder / "train" / "cat" / "0.png", noise(3, height, width))
    theirs = v2.Compose([v2.Resize(16), v2.CenterCrop(16)])(
        Image.fromarray(noise(3, height, width))
    )
    got = image_folder.read(folder, 16).train_images[0].astype(int)
    assert np.abs(got - np.asarray(theirs).transpose(2, 0, 1)).max() <= 1


def test_half_a_size_weighs_four_neighbours_one_three_three_one(folder):
    """The triangle filter in each direction: 3/8 of the nearer pixels, 1/8 of the farther ones."""
    dark = np.zeros((32, 32, 3), np.uint8)
    dark[16, 16] = 240
    put(folder / "train" / "cat" / "0.png", dark)
    got = image_folder.read(folder, 16).train_images[0, 0]
    assert got[8, 8] == pytest.approx(240 * 9 / 64, abs=1)
    assert got[7, 8] == got[8, 7] == pytest.approx(240 * 3 / 64, abs=1)
    assert got[7, 7] == pytest.approx(240 / 64, abs=1)


@pytest.mark.parametrize("ending", ["png", "JPG", "jpeg", "bmp", "webp"])
def test_every_format_can_be_read(folder, ending):
    (folder / "train" / "cat" / "0.png").unlink()
    flat = np.full((20, 20, 3), (200, 100, 50), np.uint8)
    put(folder / "train" / "cat" / f"0.{ending}", flat)
    got = image_folder.read(folder, 16).train_images[0].mean((1, 2))
    assert got == pytest.approx([200, 100, 50], abs=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_kind_of_8_bit_pixels_becomes_colour(folder, mode):
    image = Image.fromarray(np.full((20, 20, 3), 255, np.uint8)).convert(mode)
    ending = "jpg" if mode == "CMYK" else "png"
    (folder / "train" / "cat" / "0.png").unlink()
    image.save(folder / "train" / "cat" / f"0.{ending}")
    assert image_folder.read(folder, 16).train_images[0].min() >= 254


def test_a_palette_with_transparency_is_read_without_a_warning(folder):
    image = Image.fromarray(noise(5)).convert("P")
    image.save(folder / "train" / "cat" / "0.png", transparency=bytes(range(256)))
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(image_folder.read(folder, 20).train_images[0], expected)


def test_hidden_files_are_left_out_and_links_are_followed(folder, tmp_path):
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"")
    outside = tmp_path / "elsewhere.png"
    put(outside, noise(9))
    (folder / "train" / "cat" / "9.png").symlink_to(outside)
    got = image_folder.read(folder, 20)
    assert got.classes == ("cat", "dog", "eel")
    assert np.array_equal(got.train_images[4], noise(9).transpose(2, 0, 1))


# what is refused


def test_a_folder_that_is_not_there(tmp_path):
    assert told(tmp_path / "none")[0].startswith(f"{tmp_path / 'none'}: is no folder; set data.fo")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part(folder, part):
    (folder / part).rename(folder / "other")
    first, *lines = told(folder)
    assert first == f"1 error in the images of {folder}"
    assert lines == [f"  {part}: is missing; expected a folder with a folder of images per class"]


def test_everything_that_is_wrong_is_told_at_once(folder):
    (folder / "test" / "eel").rename(folder / "test" / "eels")
    (folder / "train" / "stray.png").write_bytes(b"")
    (folder / "train" / "cat" / "0.png").write_bytes(b"not an image")
    (folder / "train" / "cat" / "notes.txt").write_text("")
    (folder / "train" / "cat" / "more").mkdir()
    (folder / "train" / "cat" / "gone.png").symlink_to(folder / "nothing")
    whole = (folder / "train" / "dog" / "1.png").read_bytes()
    (folder / "train" / "dog" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "fox").mkdir()
    first, *lines = told(folder)
    assert first == f"10 errors in the images of {folder}"
    for start, text in (
        ("train/stray.png", "is no folder; put it into that of its class"),
        ("train/cat/0.png", "cannot be read"),
        ("train/cat/notes.txt", "is no image; expected files that end in .png, .jpg"),
        ("train/cat/more", "and no folders"),
        ("train/cat/gone.png", "nothing, which cannot be reached (No such file or directory)"),
        ("train/dog/1.png", "cannot be read"),
        ("train/fox", "has no images"),
        ("test/eels", "train has no such class; did you mean 'eel'?"),
        ("test/eel", "is missing; every class needs images in both"),
        ("test/fox", "is missing"),
    ):
        assert [line for line in lines if line.startswith(f"  {start}: ") and text in line], start


NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_a_class_whose_name_is_normalised_otherwise_in_the_other_part_is_told(folder):
    """The two look the same, so that 'no such class' would not help."""
    (folder / "train" / "cat").rename(folder / "train" / NFC)
    (folder / "test" / "cat").rename(folder / "test" / NFD)
    first, line = told(folder)
    assert first.startswith("1 error in")
    assert line == (
        f"  test/{NFD}: looks like the class 'caf\\xe9', but is 'cafe\\u0301': the same letters in "
        "another Unicode normalisation; give both the same name"
    )


def test_two_classes_of_one_part_that_differ_only_in_normalisation_are_told(folder):
    for part in ("train", "test"):
        (folder / part / "cat").rename(folder / part / NFC)
        (folder / part / "dog").rename(folder / part / NFD)
    lines = told(folder)[1:]
    assert len(lines) == 2
    assert all("looks like the class" in line for line in lines)


def test_classes_with_accents_are_read(folder):
    for part in ("train", "test"):
        (folder / part / "cat").rename(folder / part / NFD)
    assert image_folder.read(folder, 20).classes == (NFD, "dog", "eel")


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[31m", b"\xff"])
def test_a_class_whose_name_no_page_can_show_is_refused(folder, name):
    import os

    for part in ("train", "test"):
        (folder / part / "cat").rename(folder / part / os.fsdecode(name))
    lines = told(folder)[1:]
    assert len(lines) == 2
    assert all("give the class another name" in line for line in lines)
    "".join(lines).encode()


@pytest.mark.parametrize("place", ["", "train", "train/cat", "train/cat/0.png"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_that_leads_nowhere_is_told_as_one(folder, place, target):
    path = folder / place
    path.rename(folder.parent / "moved")
    path.symlink_to({"nowhere": folder.parent / "nowhere", "itself": path}[target])
    why = {"nowhere": "No such file or directory", "itself": "Too many levels of symbolic links"}
    assert f"is a link to {path.readlink()}, which cannot be reached ({why[target]})" in " ".join(
        told(folder)
    )


@pytest.mark.parametrize("classes", [(), ("cat",)])
def test_fewer_than_two_classes(tmp_path, classes):
    folder = make_folder(tmp_path / "images", classes)
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    lines = told(folder)
    expected = "train: got one class, cat; expected at least 2" if classes else "train: has no"
    assert lines[1].startswith(f"  {expected}")


def test_of_many_errors_the_first_are_listed(folder):
    for number in range(30):
        (folder / "train" / "cat" / f"x{number:02}.png").write_bytes(b"")
    lines = told(folder)
    assert lines[0].startswith("30 errors")
    assert (len(lines), lines[-1]) == (22, "  ... and 10 more")


def bomb(width, height):
    """Return a whole PNG of black pixels, a thousand times smaller than they are."""

    def chunk(kind, content):
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes((width + 1) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("times", [1.5, 3], ids=["PIL warns", "PIL refuses"])
def test_a_decompression_bomb_is_refused(folder, monkeypatch, times):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    (folder / "train" / "cat" / "0.png").write_bytes(bomb(100, int(100 * times)))
    assert told(folder)[1].startswith(
        "  train/cat/0.png: has more than 10,000 pixels, PIL's limit against files that unpack"
    )


def test_pixels_of_more_than_8_bits_are_refused(folder):
    Image.fromarray(np.full((20, 20), 1000, np.uint16)).save(folder / "train" / "cat" / "0.png")
    assert "expected 8 bits per channel" in told(folder)[1]


def test_another_format_under_the_name_of_an_image_is_refused(folder):
    content = io.BytesIO()
    Image.fromarray(noise(1)).save(content, "GIF")
    (folder / "train" / "cat" / "0.png").write_bytes(content.getvalue())
    assert "train/cat/0.png: cannot be read" in told(folder)[1]


def test_a_channel_of_one_value_cannot_be_standardised(folder):
    published = image_folder.read(folder, 16)
    published.train_images[:, 2] = 7
    with pytest.raises(ConfigError, match=r"data\.pixels: channel 2 has one value in all 12"):
        raw.split(published, asked(), "folder")
    assert raw.split(published, asked(pixels="unit"), "folder").std == (1.0,) * 3


# the parameters


@pytest.fixture(scope="module")
def real_tree():
    return read_yaml(config.PARAMS)


def resolved(tree, folder, **more):
    tree = tree | {"dataset": "folder", "scale": "tiny"}
    tree["data"] = tree["data"] | {"folder": str(folder)}
    tree["continual"] = tree["continual"] | more
    return config.resolve(tree)


def test_a_folder_is_named_where_it_is_read_and_nowhere_else(real_tree, folder):
    with pytest.raises(ConfigError, match=r"data\.folder: is empty, but dataset is folder"):
        resolved(real_tree, "")
    tree = real_tree | {"data": real_tree["data"] | {"folder": "x"}}
    with pytest.raises(ConfigError, match=r"data\.folder: got 'x', but dataset is digits"):
        config.resolve(tree)
    assert resolved(real_tree, folder).data.image_size == 32


def test_streams_that_need_more_classes_than_the_folder_has_are_refused_at_once(real_tree, folder):
    with pytest.raises(ConfigError, match="4 tasks, but folder has 3 classes, enough for 3"):
        resolved(real_tree, folder, streams=["class_pairs"], tasks=4)
    assert resolved(real_tree, folder, streams=["class_pairs"], tasks=3).continual.tasks == 3


@pytest.mark.parametrize("name", ["nowhere", "~no such user/x", "x" * 3000])
def test_a_folder_that_cannot_be_listed_is_left_to_prepare(real_tree, name):
    """Its prepared images may be there all the same."""
    assert resolved(real_tree, name, streams=["class_pairs"], tasks=4).data.folder == name


@pytest.mark.parametrize("variable", [None, "DVC_ROOT", "PLASTICITY_PROJECT"])
def test_a_relative_folder_starts_at_the_project(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    if variable == "PLASTICITY_PROJECT":
        monkeypatch.setenv("DVC_ROOT", "/a/clone")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    expected = (tmp_path if variable else files.Path()) / "my/images"
    assert files.image_folder("my/images") == expected
    assert files.image_folder("/my/images") == files.Path("/my/images")


def test_the_stage_prepares_a_folder(folder, tmp_path, monkeypatch):
    from plasticity import data
    from stages import prepare

    copy_params(tmp_path, scale="tiny", dataset="folder")
    text = (tmp_path / "params.yaml").read_text()
    text = text.replace('folder: ""', "folder: images").replace("image_size: 32", "image_size: 16")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert prepare.main() == {"raw": "found"}
    got = data.load_prepared(files.PREPARED)
    assert (got.classes, got.train_images.shape) == (("cat", "dog", "eel"), (12, 3, 16, 16))
    assert got.mean == pytest.approx(
        (got.train_images.double() / 255).mean((0, 2, 3)).tolist(), rel=1e-12
    )
    first = files.read_json(files.metrics_path("prepare"))["data"]
    put(folder / "train" / "cat" / "0.png", noise(77))
    prepare.main()
    second = files.read_json(files.metrics_path("prepare"))["data"]
    assert first["sha256"] != second["sha256"]
    assert first | {"sha256": ""} == second | {"sha256": ""}
