import struct

import numpy as np
import pytest

from plasticity import tables
from plasticity.errors import CheckError, DataError, StorageError
from plasticity.files import table_path, write_text

TASK = {
    "stream": "random_labels",
    "learner": "grow",
    "task_steps": 10,
    "seed": 3,
    "task": 1,
    "tasks": 1,
    "step": 20,
    "online_acc": 51.25,
    "early_acc": 43.75,
    "loss": 1.5,
    "units": "12-10",
    "alive_units": 22,
    "flops": 123456.0,
}
FLOATS = [
    0.0,
    -0.0,
    0.1 + 0.2,
    1 / 3,
    1e22,
    1e23,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    9007199254740993.0,
    5e-05,
    -97.30000000000001,
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*rows):
    tables.write_table("continual", "tasks", rows)
    return table_path("continual", "tasks")


def written_and_read(*rows):
    write(*rows)
    return tables.read_table("continual", "tasks")


# -- writing


def test_a_table_is_a_csv_file_with_the_columns_of_its_schema():
    assert write(TASK).read_text() == (
        "stream,learner,task_steps,seed,task,tasks,step,online_acc,early_acc,loss,units,alive_units,flops\n"
        "random_labels,grow,10,3,1,1,20,51.25,43.75,1.5,12-10,22,123456.0\n"
    )


def test_a_table_lies_in_the_folder_of_its_stage(folder):
    write(TASK)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.csv")] == [
        "reports/continual/tasks.csv"
    ]


def test_a_table_without_rows_has_its_header():
    assert write().read_text().splitlines() == [
        "stream,learner,task_steps,seed,task,tasks,step,online_acc,early_acc,loss,units,alive_units,flops"
    ]


def test_a_missing_value_is_an_empty_cell():
    assert write(TASK | {"early_acc": None}).read_text().splitlines()[1] == (
        "random_labels,grow,10,3,1,1,20,51.25,,1.5,12-10,22,123456.0"
    )


def test_rows_are_sorted_by_their_keys_whatever_their_order():
    keys = [("a", 10, 0), ("a", 2, 1), ("a", 2, 0), ("b", 1, 0)]  # as numbers: 2 before 10
    rows = [TASK | {"stream": a, "seed": b, "task": c} for a, b, c in keys]
    cells = [line.split(",") for line in write(*rows).read_text().splitlines()[1:]]
    lines = [[row[0], row[3], row[4]] for row in cells]
    assert lines == [["a", "2", "0"], ["a", "2", "1"], ["a", "10", "0"], ["b", "1", "0"]]


def test_the_order_of_rows_does_not_change_a_byte():
    rows = [TASK | {"seed": seed, "task": task} for seed in (4, 0, 11) for task in (2, 1)]
    assert write(*rows).read_bytes() == write(*reversed(rows)).read_bytes()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("seed", 3.0),
        ("seed", "3"),
        ("seed", True),
        ("seed", np.int64(3)),
        ("loss", 1),
        ("loss", "1.5"),
        ("loss", np.float64(1.5)),
        ("loss", float("nan")),
        ("loss", float("inf")),
        ("loss", -float("inf")),
        ("units", 12),
        ("units", ("12", "10")),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(column, value):
    with pytest.raises(CheckError, match=rf"continual/tasks: {column} is .*, expected a finite"):
        write(TASK | {column: value})


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "a\rb", "a\x1bb"])
def test_a_text_that_a_spreadsheet_computes_or_a_reader_breaks_is_refused(text):
    with pytest.raises(CheckError, match="continual/tasks: units is"):
        write(TASK | {"units": text})


def test_a_table_that_is_too_big_is_not_read(monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 10)
    with pytest.raises(DataError, match=r"tasks\.csv: could not be read \(has more than 10 bytes"):
        written_and_read(TASK)


def test_a_row_without_a_column_is_refused():
    with pytest.raises(CheckError, match="continual/tasks: got columns"):
        write({column: value for column, value in TASK.items() if column != "loss"})


def test_a_row_with_an_unknown_column_is_refused():
    with pytest.raises(CheckError, match="continual/tasks: got columns"):
        write(TASK | {"lost": 1.5})


def test_a_row_without_one_of_its_keys_is_refused():
    with pytest.raises(CheckError, match="continual/tasks: seed is None"):
        write(TASK, TASK | {"seed": None})


def test_a_refused_row_leaves_the_old_table():
    before = write(TASK).read_bytes()
    with pytest.raises(CheckError):
        write(TASK, TASK | {"loss": float("nan")})
    assert table_path("continual", "tasks").read_bytes() == before


def test_a_table_that_cannot_be_written_is_told_with_its_name(folder):
    (folder / "reports").write_text("a file, not a folder")
    with pytest.raises(StorageError, match=r"reports/continual/tasks\.csv"):
        write(TASK)


# -- reading


def test_floats_come_back_with_the_same_bits():
    generator = np.random.default_rng(0)
    drawn = [*generator.normal(50, 20, 500).tolist(), *(10.0 ** generator.uniform(-300, 300, 500))]
    values = [float(value) for value in [*FLOATS, *drawn]]
    frame = written_and_read(*(TASK | {"seed": n, "loss": x} for n, x in enumerate(values)))
    bits = [struct.pack("d", value) for value in frame["loss"].tolist()]
    assert bits == [struct.pack("d", value) for value in values]


def test_integers_come_back_exactly():
    assert written_and_read(TASK | {"step": 2**53 + 1})["step"].tolist() == [2**53 + 1]


def test_texts_come_back_as_they_were():
    texts = ["12-10", "12", "a,b", 'a "quoted" b', "é"]
    frame = written_and_read(*(TASK | {"seed": n, "units": x} for n, x in enumerate(texts)))
    assert frame["units"].tolist() == texts


@pytest.mark.parametrize("column", ["early_acc", "alive_units", "units"])
def test_a_missing_value_comes_back_missing(column):
    rows = TASK, TASK | {"seed": 4, column: None}
    assert written_and_read(*rows)[column].isna().tolist() == [False, True]


def test_an_empty_table_comes_back_with_its_columns():
    assert list(written_and_read().columns) == list(TASK)


def test_an_integer_column_with_a_missing_value_stays_integer():
    frame = written_and_read(TASK, TASK | {"seed": 4, "alive_units": None})
    assert str(frame["alive_units"].dtype) == "Int64"


def test_a_table_can_be_read_below_another_root(folder, monkeypatch):
    write(TASK)
    monkeypatch.chdir("/")
    assert len(tables.read_table("continual", "tasks", root=folder)) == 1


def test_a_missing_table_is_told_with_its_name():
    with pytest.raises(DataError, match=r"reports/continual/tasks\.csv: is missing.*make repro"):
        tables.read_table("continual", "tasks")


DAMAGE = {
    # name: what happens to a file of two rows
    "empty": lambda text: text[:0],
    "cut inside the header": lambda text: text[:20],
    "cut inside the last row": lambda text: text[:-14],
    "cut inside the last number": lambda text: text[:-5],
    "no longer text": lambda text: text.replace("random", "r\xff"),
    "one cell too many in a row": lambda text: text[:-1] + ",9\n",
    "one cell too many in all rows": lambda text: text.replace("123456.0", "123456.0,9"),
    "one cell too few in a row": lambda text: text[:-10] + "\n",
    "columns swapped": lambda text: text.replace("seed,task", "task,seed"),
    "a column renamed": lambda text: text.replace("loss", "lost"),
    "a column twice": lambda text: text.replace("loss", "flops"),
    "a text for a float": lambda text: text.replace("51.25", "half"),
    "a text for an integer": lambda text: text.replace(",20,", ",twenty,"),
    "a float for an integer": lambda text: text.replace(",20,", ",20.5,"),
    "an integer beyond 64 bits": lambda text: text.replace(",20,", f",{10**20},"),
    "not a number": lambda text: text.replace("51.25", "nan"),
    "infinite": lambda text: text.replace("51.25", "inf"),
    "a quote that is not closed in a long file": lambda text: text.replace(
        "12-10", '"' + "1" * 140_000, 1
    ),
    "a quote that is not closed": lambda text: text.replace("12-10", '"12-10', 1),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_table_is_told_with_its_name(damage):
    path = write(TASK, TASK | {"seed": 4})
    path.write_text(damage(path.read_text()), encoding="latin-1")
    with pytest.raises(DataError, match=r"reports/continual/tasks\.csv: "):
        tables.read_table("continual", "tasks")


# -- schemas


@pytest.mark.parametrize("schema", tables.SCHEMAS.values(), ids=map("/".join, tables.SCHEMAS))
def test_a_schema_has_a_key_to_sort_by(schema):
    assert set(schema) & set(tables.KEYS)


@pytest.mark.parametrize("schema", tables.SCHEMAS.values(), ids=map("/".join, tables.SCHEMAS))
def test_a_schema_knows_integers_floats_and_texts_only(schema):
    assert set(schema.values()) <= {int, float, str}


def test_a_table_that_a_study_keeps_is_not_made_again_by_the_pipeline(tmp_path):
    kept = tmp_path / "reports/studies/two/grow-1"
    for damage in ("", None):
        path = kept / table_path("train", "seeds")
        write_text(path, damage) if damage is not None else path.unlink()
        with pytest.raises(DataError, match="git checkout -- ") as error:
            tables.read_table("train", "seeds", kept)
        assert "make repro" not in str(error.value)
