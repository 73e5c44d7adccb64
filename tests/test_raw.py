import dataclasses
import gzip
import hashlib
import io
import pickle
import re
import shutil
import socket
import struct
import tarfile
import threading
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from commands import python

from plasticity import files, raw, sections
from plasticity.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[1]
REAL = files.data_root()
REAL_NAMES = [
    name
    for name, source in (raw.IDX | raw.CIFAR).items()
    if all(raw._find(REAL, file) for file in source.files)
]
FETCH = raw._fetch


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_):
        raise URLError("no network")

    monkeypatch.setattr(raw, "_fetch", refuse)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path / "raw"))
    return tmp_path / "raw"


@pytest.fixture
def put(root, monkeypatch):
    """Write a file and make its sum the published one."""

    def write(file, content, *, pinned=True):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)
        if pinned:
            monkeypatch.setitem(raw.MD5, file, md5(content))

    return write


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(array):
    head = bytes([0, 0, 8, array.ndim])
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


IDX_ARRAYS = {
    "train-images-idx3-ubyte": pixels(0, 7, 28, 28),
    "train-labels-idx1-ubyte": np.arange(7, dtype=np.uint8),
    "t10k-images-idx3-ubyte": pixels(1, 4, 28, 28),
    "t10k-labels-idx1-ubyte": np.arange(4, dtype=np.uint8)[::-1].copy(),
}


def put_idx(put, name, *, packed=True):
    for file, array in IDX_ARRAYS.items():
        path = f"{raw.IDX[name].folder}/{file}"
        if packed:
            put(f"{path}.gz", gzip.compress(idx(array)))
        else:
            put(path, idx(array))


def old_pickle(value):
    """Pickle as Python 2 and NumPy 1 did, which is what CIFAR's publishers used."""
    return b"\x80\x02" + old_opcodes(value) + b"."


def old_opcodes(value):
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int) and value.bit_length() > 31:
        return b"\x8a\x0c" + value.to_bytes(12, "little")
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(old_opcodes, value)) + b"e"
    if isinstance(value, dict):
        items = (old_opcodes(part) for item in value.items() for part in item)
        return b"}(" + b"".join(items) + b"u"
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02" + value.dtype.str[1:].encode() + b"K\x00K\x01\x87R"
    dtype += b"(K\x03U\x01|NNN" + 2 * old_opcodes(-1) + b"K\x00tb"
    shape = b"(" + b"".join(map(old_opcodes, value.shape)) + b"t"
    order = b"\x88" if value.flags.f_contiguous else b"\x89"
    return new + b"(K\x01" + shape + dtype + order + old_opcodes(value.tobytes("A")) + b"tb"


CIFAR_KEYS = {
    "cifar10": (b"labels", b"label_names"),
    "cifar100": (b"fine_labels", b"fine_label_names"),
}


def cifar_files(name):
    """Return the files of a small CIFAR: four images a batch, each batch its own seed."""
    source = raw.CIFAR[name]
    label_key, class_key = CIFAR_KEYS[name]
    batches = {
        file: old_pickle(
            {
                b"data": pixels(seed, 4, 3072),
                b"coarse_labels": [99] * 4,
                label_key: [seed, 1, 2, 3],
            }
        )
        for seed, file in enumerate((*source.train, *source.test))
    }
    meta = {b"coarse_label_names": [b"no"], class_key: [b"frog", b"aquarium_fish"]}
    return {f"{source.folder}/{f}": c for f, c in batches.items()} | {
        f"{source.folder}/{source.meta[0]}": old_pickle(meta)
    }


def put_cifar(put, name):
    for file, content in cifar_files(name).items():
        put(file, content)


def small_raw(train=20, test=6):
    return raw.RawDataset(
        train_images=pixels(0, train, 3, 4, 4),
        train_labels=np.arange(train),
        test_images=pixels(1, test, 3, 4, 4),
        test_labels=np.arange(test),
        classes=(),  # labels number the images here, so no class can be lost
        source="found",
    )


def asked(train_images="all", validation=0, pixels="standardised", subset="random"):
    return sections.Data(
        train_images=train_images,
        validation=validation,
        subset=subset,
        test_images="all",
        pixels=pixels,
        folder="",
        image_size=32,
    )


def arrays_of(dataset):
    return {
        field.name: value
        for field in dataclasses.fields(dataset)
        if isinstance(value := getattr(dataset, field.name), np.ndarray)
    }


# digits


def test_digits_give_a_fifth_of_each_class_as_test_images_and_lose_none():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    got = raw.read("digits")
    assert got.train_images.shape == (1437, 1, 8, 8)
    assert got.test_images.shape == (360, 1, 8, 8)
    assert got.source == "embedded"
    for digit in range(10):
        share = np.sum(bunch.target == digit) / 5
        assert abs(np.sum(got.test_labels == digit) - share) < 1
    both = np.concatenate([got.train_images, got.test_images]).reshape(-1, 64)
    labels = np.concatenate([got.train_labels, got.test_labels])
    expected = np.floor(bunch.data * 255 / 16 + 0.5).astype(np.uint8)
    assert sorted((*image, label) for image, label in zip(both.tolist(), labels, strict=True)) == (
        sorted(
            (*image, label) for image, label in zip(expected.tolist(), bunch.target, strict=True)
        )
    )


def test_digits_are_split_alike_each_time_and_not_in_order_of_class():
    one, two = raw.read("digits"), raw.read("digits")
    for name, array in arrays_of(one).items():
        assert np.array_equal(array, getattr(two, name))
    assert np.any(np.diff(one.test_labels) < 0)


# idx files


@pytest.mark.parametrize("name", raw.IDX)
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_packed_or_not(name, packed, put):
    put_idx(put, name, packed=packed)
    got = raw.read(name)
    expected = list(IDX_ARRAYS.values())
    assert np.array_equal(got.train_images[:, 0], expected[0])
    assert np.array_equal(got.train_labels, expected[1])
    assert np.array_equal(got.test_images[:, 0], expected[2])
    assert np.array_equal(got.test_labels, expected[3])
    assert got.train_images.dtype == np.uint8
    assert got.train_labels.dtype == np.int64
    assert got.source == "found"
    assert len(got.classes) == 10
    assert all(array.flags.writeable for array in arrays_of(got).values())


def test_the_published_packed_file_is_read_before_its_content(put):
    put_idx(put, "mnist")
    put("MNIST/raw/train-images-idx3-ubyte", b"never looked at", pinned=False)
    assert np.array_equal(raw.read("mnist").train_images[:, 0], pixels(0, 7, 28, 28))


# sums


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte.gz"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("cifar100", "cifar-100-python/test"),
    ],
)
def test_a_file_with_a_wrong_sum_is_refused_whichever_it_is(name, file, put, root):
    if name in raw.IDX:
        put_idx(put, name, packed=file.endswith(".gz"))
    else:
        put_cifar(put, name)
    changed = (root / file).read_bytes() + b"\0"
    put(file, changed, pinned=False)
    with pytest.raises(DataError) as caught:
        raw.read(name)
    message = str(caught.value)
    assert str(root / file) in message
    assert f"got MD5 {md5(changed)}, expected {raw.MD5[file]}" in message
    assert "delete it and run again" in message


def test_the_sums_are_the_publishers_as_torchvision_states_them():
    from torchvision import datasets

    stated = {}
    for source in (raw.IDX | raw.CIFAR).values():
        known = getattr(datasets, source.torchvision)
        if source.meta:
            sums = [
                *known.train_list,
                *known.test_list,
                (known.meta["filename"], known.meta["md5"]),
            ]
        else:
            sums = known.resources
        stated |= {f"{source.folder}/{file}": value for file, value in sums}
    unpacked = {file for file in raw.MD5 if f"{file}.gz" in raw.MD5}
    assert {file: raw.MD5[file] for file in raw.MD5 if file not in unpacked} == stated
    assert len(unpacked) == 8


# CIFAR


@pytest.mark.parametrize("name", raw.CIFAR)
def test_cifar_is_read_batch_after_batch_with_its_fine_labels(name, put):
    put_cifar(put, name)
    source = raw.CIFAR[name]
    batches = len(source.train)
    got = raw.read(name)
    expected = np.concatenate([pixels(seed, 4, 3072) for seed in range(batches)])
    assert np.array_equal(got.train_images, expected.reshape(-1, 3, 32, 32))
    assert got.train_labels.tolist() == [n for seed in range(batches) for n in (seed, 1, 2, 3)]
    assert np.array_equal(got.test_images, pixels(batches, 4, 3072).reshape(-1, 3, 32, 32))
    assert got.test_labels.tolist() == [batches, 1, 2, 3]
    assert got.train_labels.dtype == np.int64
    assert got.classes == ("frog", "aquarium_fish")
    assert all(array.flags.writeable for array in arrays_of(got).values())


def test_the_old_pickles_of_these_tests_are_what_numpy_reads():
    entry = {b"data": pixels(3, 2, 5), b"labels": [1, 2]}
    got = trusting(old_pickle(entry))
    assert np.array_equal(got[b"data"], entry[b"data"])
    assert got[b"labels"] == [1, 2]


def trusting(content):
    """Unpickle like torchvision does, running whatever is named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.loads(content, encoding="bytes")


def attacks(canary):
    """Return pickles that make the canary file when they are trusted, by how they do it."""
    command = f"touch {canary}".encode()
    code = f"open({str(canary)!r}, 'w').close()".encode()
    text = b"X" + struct.pack("<I", len(command)) + command
    program = b"X" + struct.pack("<I", len(code)) + code
    inert = b"cnumpy.core.multiarray\n_reconstruct\n"
    return {
        "reduce": b"\x80\x02cposix\nsystem\n" + text + b"\x85R.",
        "eval": b"\x80\x02cbuiltins\neval\n" + program + b"\x85R.",
        "python 2 name": b"\x80\x02c__builtin__\neval\n" + program + b"\x85R.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + text + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93" + text + b"\x85R.",
        "inst": b"(" + text + b"iposix\nsystem\n.",
        "obj": b"(cposix\nsystem\n" + text + b"o.",
        "inside a batch": b"\x80\x02}(T\x04\x00\x00\x00datacposix\nsystem\n" + text + b"\x85Ru.",
        "after numpy": b"\x80\x02" + inert + b"0cposix\nsystem\n" + text + b"\x85R.",
    }


TRUSTED_FIRE = (
    "reduce",
    "eval",
    "python 2 name",
    "stack global",
    "dotted name",
    "inst",
    "obj",
    "after numpy",
)


@pytest.mark.parametrize("attack", TRUSTED_FIRE)
def test_the_attacks_of_these_tests_work_on_a_trusting_reader(attack, tmp_path):
    canary = tmp_path / "canary"
    trusting(attacks(canary)[attack])
    assert canary.exists()


@pytest.mark.parametrize("attack", attacks(Path("canary")))
@pytest.mark.parametrize("file", ["train", "meta"])
@pytest.mark.parametrize("pinned", [True, False])
def test_a_malicious_pickle_is_not_run_with_or_without_the_sum(
    attack, file, pinned, put, root, tmp_path
):
    canary = tmp_path / "canary"
    put_cifar(put, "cifar100")
    put(f"cifar-100-python/{file}", attacks(canary)[attack], pinned=pinned)
    with pytest.raises(DataError) as caught:
        raw.read("cifar100")
    assert str(root / "cifar-100-python" / file) in str(caught.value)
    assert ("nothing that it names was run" if pinned else "got MD5") in str(caught.value)
    assert not canary.exists()


INERT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        old_pickle({b"data": pixels(0, 4, 3072)}),
        old_pickle([1, 2]),
        old_pickle({b"data": b"text", b"fine_labels": [1]}),
        old_pickle({b"data": pixels(0, 4, 3072).astype(np.int8), b"fine_labels": [0] * 4}),
        old_pickle({b"data": np.asfortranarray(pixels(0, 4, 3072)), b"fine_labels": [0] * 4}),
        old_pickle({b"data": pixels(0, 4, 3072), b"fine_labels": [b"x"] * 4}),
        old_pickle({b"data": pixels(0, 4, 3072), b"fine_labels": [2**70]}),
        old_pickle({b"data": pixels(0, 4, 3072), b"fine_labels": [0] * 4})[:-20],
        b"\x80\x02" + INERT + b"}U\x0c__setstate__K\x01sb.",
        b"\x80\x02P1\n.",
        b"\x80\x02\x82\x01.",
    ],
    ids=[
        "empty",
        "text",
        "no labels",
        "no dict",
        "no array",
        "signed numbers",
        "columns first",
        "labels of text",
        "a huge label",
        "cut short",
        "setting a method",
        "persistent id",
        "extension",
    ],
)
def test_a_pickle_that_is_no_batch_is_told_in_plain_words(content, put):
    put_cifar(put, "cifar100")
    put("cifar-100-python/train", content)
    with pytest.raises(DataError, match="is not a CIFAR file"):
        raw.read("cifar100")
    put_cifar(put, "cifar100")
    assert len(raw.read("cifar100").train_labels) == 4


# missing files


@pytest.mark.parametrize("name", [*raw.IDX, *raw.CIFAR])
def test_missing_files_without_a_network_say_both_ways_out(name, root):
    source = (raw.IDX | raw.CIFAR)[name]
    with pytest.raises(DataError) as caught:
        raw.read(name)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert message.startswith(f"{root / source.folder}: ")
    assert all(Path(file).name in message for file in source.files)
    assert "no network" in message
    assert f"set PLASTICITY_DATA to a folder that holds {source.folder}" in message
    assert "run once with a network" in message
    assert not any(root.iterdir())


def test_only_the_missing_file_is_named(put, root):
    put_idx(put, "mnist")
    (root / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"missing \(t10k-labels-idx1-ubyte\[\.gz\]\)"):
        raw.read("mnist")


def test_a_folder_that_cannot_be_made_is_told_as_missing_data(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path / "file" / "raw"))
    with pytest.raises(DataError, match="Not a directory"):
        raw.read("mnist")


def test_what_was_downloaded_is_used_and_found_the_next_time(root, put, tmp_path, monkeypatch):
    put_cifar(put, "cifar10")
    published = root.rename(tmp_path / "published")

    def copy(_, folder):
        shutil.copytree(published, folder, dirs_exist_ok=True)

    monkeypatch.setattr(raw, "_fetch", copy)
    assert raw.read("cifar10").source == "downloaded"
    assert raw.read("cifar10").source == "found"
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]


def test_a_download_that_stops_half_way_leaves_no_half_data_set(root, monkeypatch):
    def stop(source, folder):
        (folder / source.folder).mkdir(parents=True)
        (folder / source.folder / "train-images-idx3-ubyte.gz").write_bytes(b"half")
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(raw, "_fetch", stop)
    with pytest.raises(DataError, match="reset by peer"):
        raw.read("mnist")
    assert not any(root.iterdir())


# torchvision's part, from a server on this machine


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder, give the folder and its address, and let ``raw`` download."""
    monkeypatch.setattr(raw, "_fetch", FETCH)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "server"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


def nobody():
    """Return an address that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return f"http://127.0.0.1:{gone.getsockname()[1]}/"


def test_torchvision_downloads_idx_files_from_the_mirror_that_has_them(server, root, monkeypatch):
    from torchvision import datasets

    folder, address = server
    resources = []
    for file, array in IDX_ARRAYS.items():
        content = gzip.compress(idx(array))
        (folder / f"{file}.gz").write_bytes(content)
        resources.append((f"{file}.gz", md5(content)))
        monkeypatch.setitem(raw.MD5, f"MNIST/raw/{file}.gz", md5(content))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nobody(), address])
    got = raw.read("mnist")
    assert got.source == "downloaded"
    assert np.array_equal(got.train_images[:, 0], pixels(0, 7, 28, 28))
    assert [path.name for path in root.iterdir()] == ["MNIST"]


def test_a_server_with_other_files_is_told(server, root, monkeypatch):
    from torchvision import datasets

    folder, address = server
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nobody(), address])
    with pytest.raises(DataError, match=r"corrupted.*run once with a network"):
        raw.read("mnist")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nobody()])
    with pytest.raises(DataError, match=r"refused.*run once with a network"):
        raw.read("mnist")
    assert not any(root.iterdir())


@pytest.mark.usefixtures("root")
def test_a_server_that_never_answers_is_not_waited_for(monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(raw, "_fetch", FETCH)
    monkeypatch.setattr(raw, "PATIENCE", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        with pytest.raises(DataError, match="timed out"):
            raw.read("mnist")
    assert socket.getdefaulttimeout() is None


def test_torchvision_downloads_and_unpacks_cifar_but_does_not_unpickle_it(
    server, root, tmp_path, monkeypatch
):
    from torchvision import datasets

    folder, address = server
    canary = tmp_path / "canary"
    contents = cifar_files("cifar100")
    contents["cifar-100-python/train"] = attacks(canary)["reduce"]
    archive = folder / "published.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file, content in contents.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            monkeypatch.setitem(raw.MD5, file, md5(content))
    monkeypatch.setattr(datasets.CIFAR100, "url", f"{address}{archive.name}")
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", md5(archive.read_bytes()))
    with pytest.raises(DataError, match="is not a CIFAR file"):
        raw.read("cifar100")
    assert sorted(path.name for path in root.rglob("*")) == [
        "cifar-100-python",
        "meta",
        "test",
        "train",
    ]
    assert not canary.exists()


# the split


def test_a_split_is_a_fixed_order_of_which_validation_comes_first():
    published = small_raw()
    everything = raw.split(published, asked(), "small")
    assert sorted(everything.train_labels) == list(range(20))
    assert everything.train_labels.tolist() != list(range(20))
    got = raw.split(published, asked(train_images=9, validation=5), "small")
    assert got.validation_labels.tolist() == everything.train_labels[:5].tolist()
    assert got.train_labels.tolist() == everything.train_labels[5:14].tolist()
    assert got.classes == published.classes
    rest = raw.split(published, asked(validation=5), "small")
    assert rest.train_labels.tolist() == everything.train_labels[5:].tolist()


def test_pixels_are_standardised_by_what_is_used_for_training_or_left_in_the_unit_interval():
    published = small_raw()
    scaled = raw.split(published, asked(), "small")
    assert scaled.mean == pytest.approx(published.train_images.mean((0, 2, 3)) / 255)
    plain = raw.split(published, asked(pixels="unit"), "small")
    assert (plain.mean, plain.std) == ((0.0,) * 3, (1.0,) * 3)


def test_images_keep_their_labels_in_a_split():
    published = small_raw()
    got = raw.split(published, asked(train_images=9, validation=5), "small")
    for part in ("train", "validation"):
        labels = getattr(got, f"{part}_labels")
        assert np.array_equal(getattr(got, f"{part}_images"), published.train_images[labels])
    assert np.array_equal(got.test_images, published.test_images[got.test_labels])


def test_all_test_images_are_kept_whatever_is_asked_but_not_in_the_published_order():
    published = small_raw(test=50)
    got = raw.split(published, asked(train_images=3), "small")
    assert sorted(got.test_labels) == list(range(50))
    assert got.test_labels.tolist() != list(range(50))
    again = raw.split(published, asked(validation=7), "small")
    assert got.test_labels.tolist() == again.test_labels.tolist()


def test_mean_and_std_are_those_of_the_training_images_used():
    got = raw.split(small_raw(), asked(train_images=9, validation=5), "small")
    scaled = got.train_images / 255
    assert got.mean == pytest.approx(scaled.mean(axis=(0, 2, 3)), rel=1e-12)
    assert got.std == pytest.approx(scaled.std(axis=(0, 2, 3)), rel=1e-12)
    assert all(type(value) is float for value in got.mean + got.std)


def test_mean_and_std_of_white_images_do_not_overflow():
    assert raw._mean_and_std(np.full((20, 4, 4), 255, np.uint8)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("train_images", "validation", "message"),
    [
        (21, 0, r"data\.train_images: got 21 .* small has 20 training images; use at most 20"),
        (16, 5, r"data\.train_images: got 16 with data\.validation 5, .* use at most 15, or all"),
        ("all", 20, r"data\.validation: got 20, but small has 20 .* put at most 19 aside"),
        (1, 30, r"data\.validation: got 30, but small has 20 training images"),
    ],
)
def test_more_images_than_there_are_is_a_mistake_in_the_parameters(
    train_images, validation, message
):
    with pytest.raises(ConfigError, match=message):
        raw.split(small_raw(), asked(train_images, validation), "small")


@pytest.mark.parametrize(("train_images", "validation"), [(20, 0), (15, 5), ("all", 19)])
def test_just_as_many_images_as_there_are_is_fine(train_images, validation):
    got = raw.split(small_raw(), asked(train_images, validation), "small")
    assert len(got.train_labels) + len(got.validation_labels) == 20


# the stage


def copy_params(folder, **changes):
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for key, value in changes.items():
        (place,) = (n for n, line in enumerate(lines) if line.startswith(f"{key}: "))
        lines[place] = f"{key}: {value}"
    (folder / "params.yaml").write_text("\n".join(lines))


def test_the_stage_writes_what_it_read(tmp_path, monkeypatch):
    from plasticity import data
    from stages import prepare

    copy_params(tmp_path, scale="tiny")
    monkeypatch.chdir(tmp_path)
    assert prepare.main() == {"raw": "embedded"}
    got = data.load_prepared(files.PREPARED)
    expected = raw.split(raw.read("digits"), asked(train_images=200), "digits")
    for name, array in arrays_of(expected).items():
        assert np.array_equal(getattr(got, name).numpy(), array)
    assert (got.mean, got.std, got.classes) == (expected.mean, expected.std, expected.classes)
    metrics = files.read_json(files.metrics_path("prepare"))
    sha256 = metrics["data"].pop("sha256")
    assert metrics == {
        "data": {
            "train_images": 200,
            "validation_images": 0,
            "test_images": 360,
            "classes": 10,
        }
    }
    assert len(sha256) == 12
    assert prepare.main() == {"raw": "embedded"}
    assert files.read_json(files.metrics_path("prepare"))["data"]["sha256"] == sha256
    copy_params(tmp_path, scale="quick")
    prepare.main()
    assert files.read_json(files.metrics_path("prepare"))["data"]["sha256"] != sha256


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"dataset": "digit"}, 2, "did you mean 'digits'?"),
        ({"dataset": "mnist"}, 3, "is not the published file"),
    ],
)
def test_the_stage_ends_with_the_code_of_the_fault_before_torch_is_imported(
    changes, code, message, tmp_path
):
    copy_params(tmp_path, **changes)
    for file in raw.IDX["mnist"].files:
        path = tmp_path / "raw" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"damaged")
    arguments = ("-X", "importtime", "-m", "stages.prepare")
    done = python(tmp_path, *arguments, PYTHONPATH=str(ROOT), PLASTICITY_DATA="raw")
    assert done.returncode == code
    assert message in done.stderr
    assert "plasticity.raw" in done.stderr
    assert not re.search(r"\| +torch\n", done.stderr)
    assert not (tmp_path / "data").exists()


# the real files, for those that are on this machine

PUBLISHED = {
    "digits": (1437, 360, (1, 8, 8), 10, "0"),
    "mnist": (60000, 10000, (1, 28, 28), 10, "0"),
    "fashion_mnist": (60000, 10000, (1, 28, 28), 10, "T-shirt/top"),
    "cifar10": (50000, 10000, (3, 32, 32), 10, "airplane"),
    "cifar100": (50000, 10000, (3, 32, 32), 100, "apple"),
}


@pytest.mark.parametrize("name", ["digits", *REAL_NAMES])
def test_the_published_data_sets_have_their_published_sizes(name, monkeypatch):
    monkeypatch.setenv("PLASTICITY_DATA", str(REAL))
    train, test, shape, classes, first = PUBLISHED[name]
    got = raw.read(name)
    assert got.train_images.shape == (train, *shape)
    assert got.test_images.shape == (test, *shape)
    assert (len(got.train_labels), len(got.test_labels)) == (train, test)
    assert (len(got.classes), got.classes[0]) == (classes, first)
    assert np.array_equal(np.unique(got.train_labels), np.arange(classes))
    assert np.array_equal(np.unique(got.test_labels), np.arange(classes))
    assert (got.train_images.min(), got.train_images.max()) == (0, 255)
