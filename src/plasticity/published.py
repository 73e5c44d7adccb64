"""What others published, as data, and which settings of ours each of their rows stands for.

``data/published`` holds the tables as printed; its README names their sources. No torch.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plasticity import catalogue, learner_catalogue
from plasticity.errors import DataError
from plasticity.escapes import brief, quoted
from plasticity.files import published_path, read_text
from plasticity.learners import StreamRun, learner_settings, overlaid
from plasticity.sections import Params
from plasticity.stats import Interval

MOST_BYTES = 1_000_000
SEEDS = 10
"""Of every mean in the tables of Lillo & Cheney 2026."""
NORMAL_TABLES = {"T7": 2.262157 / 1.959964}
"""Tables that print 1.96 standard errors -> the factor to a half-width of Student's t at n = 10."""


@dataclass(frozen=True)
class Row:
    """A row of a published table."""

    table: str
    """As the paper numbers it, such as ``T4``."""
    group: str
    """Data set or stream; rows of one group are shown together."""
    name: str
    cells: Mapping[str, Interval | None]
    """Measure, as claims name it -> what was published; None is an empty cell."""
    settings: Mapping[str, Any]
    """Dotted parameter -> value that a condition of ours must have."""
    size: Mapping[str, Any] = field(default_factory=dict)
    """Likewise for a condition of equal size."""
    stream: str = ""
    """Rule of the stream, or nothing where it is no stream."""
    remark: str = ""
    """Why ours is not the same setting, whatever its size; or nothing."""
    unlike: bool = False
    """Whether no condition of ours measures what the row shows."""
    only_this_size: bool = False
    """Whether another size is another setting, which is not to be shown beside it."""


_INTERVENTION = {
    key: value for key, value in learner_catalogue.PLAIN.items() if "intervention" in key
}
_STRUCTURE = {
    "edit.seed_fraction": 0.1,
    "edit.count_rule": "ceil_remaining",
    "edit.layers": "head",
    "edit.maturity": 0,
    "measure.activation_threshold": 0.05,
}
_CYCLES = {"edit.cycles": 5}
_SELECTION = {"activation": "activation_frequency", "gradient": "gradient"}


def _trained(epochs: int, lr: float, widths: tuple[int, ...], trunk: tuple[int, ...]) -> Any:
    return {
        "data.train_images": "all",
        "data.test_images": "all",
        "data.validation": 0,
        "network.widths": widths,
        "network.trunk": trunk,
        "train.epochs": epochs,
        "train.optimizer": "sgd",
        "train.lr": lr,
        "train.schedule": "cosine",
        "retrain.epochs": epochs,
    }


_CONVNET = _trained(200, 0.1, (512, 512, 256), (32, 64))
_SIZES = {
    "mnist": _trained(100, 0.01, (256, 256), ()),
    "cifar10": _CONVNET,
    "cifar100": _CONVNET,
}
"""Sections 3 and 4 of the paper, as far as it states them."""

_FOUR = {
    "cycle.acc": ("cycle_acc", "cycle_acc_ci95"),
    "cycle.taa": ("cycle_taa", "cycle_taa_ci95"),
    "ticket.acc": ("wt_acc", "wt_acc_ci95"),
    "ticket.taa": ("wt_taa", "wt_taa_ci95"),
}
_TICKETS = {
    "ticket.acc": ("wt_final", "wt_final_ci95"),
    "ticket.taa": ("wt_taa", "wt_taa_ci95"),
    "delta.acc": ("delta_wt_minus_cycle", "delta_ci95"),
}
_THREE = {measure: _FOUR[measure] for measure in ("cycle.acc", "cycle.taa", "ticket.acc")}
_STREAMED = {
    "taoa": ("average_acc", "average_acc_ci95"),
    "early": ("early_task_taa", "early_task_taa_ci95"),
}
_KEYS = {
    "mlp": ("dataset", "compactness", "arm"),
    "cifar10": ("compactness", "arm", "allocation"),
    "cifar100": ("compactness", "arm", "allocation"),
    "cifar100_selection": ("compactness", "selection"),
    "streams": ("compactness", "arm", "stream"),
    "stream_settings": (
        "stream", "images_per_task", "batch", "epochs_per_task", "steps_per_task", "num_tasks"
    ),
    "rsl_settings": ("benchmark", "c", "p", "lower", "upper", "lr"),
    "other_papers": (
        "source", "dataset", "stream", "images_per_task", "num_tasks", "steps_per_task", "learner",
        "average_acc",
    ),
}  # fmt: skip
_CELLS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "mlp": _TICKETS,
    "cifar10": _FOUR,
    "cifar100": _FOUR,
    "cifar100_selection": _THREE,
    "streams": _STREAMED,
}
_ROWS = {"mlp": 27, "cifar10": 9, "cifar100": 21, "cifar100_selection": 8, "streams": 174,
         "stream_settings": 6, "rsl_settings": 8, "other_papers": 5}  # fmt: skip
_TEXTS = ("table", "dataset", "arm", "allocation", "selection", "stream", "benchmark", "source",
          "learner")  # fmt: skip

MEASURES = {
    table: tuple(_CELLS[name])
    for table, name in (
        ("T3", "mlp"),
        ("T4", "cifar100"),
        ("T7", "cifar100_selection"),
        ("T9", "cifar100"),
        ("T10", "cifar10"),
        ("T14", "streams"),
    )
} | {"other papers": ("taoa",)}
"""The tables, in order, with the measures of their columns."""

_OPERATORS = {"dense": "dense", "prune": "prune", "grow": "grow"}
_IMPROVED: Mapping[str, Mapping[str, Any]] = {
    "grow+rsl": {},  # its options depend on the stream
    "grow+two_speed": {"intervention.trainability": "two_speed"},
    "grow+moment_transplant": {"intervention.optimizer_state": "donor"},
    "grow+gradmax": {"intervention.selection.grow": "gradmax"},
    "grow+net2wider": {"intervention.insertion": "net2wider"},
}
_ARMS: Mapping[str, Mapping[str, Any]] = {**{op: {} for op in _OPERATORS}, **_IMPROVED}
_SETS = {
    "mnist_iid": ("mnist", "MNIST"),
    "split_mnist_er": ("mnist", "Split-MNIST with replay"),
    "split_fashion_er": ("fashion_mnist", "Split-Fashion-MNIST with replay"),
}
_STREAMS = {
    "random_label_cifar": ("cifar10", "random_labels", "random-label CIFAR-10"),
    "five_plus_one_cifar": ("cifar100", "five_plus_one", "5+1 CIFAR-100"),
    "continual_imagenet": ("cifar100", "class_pairs", "continual ImageNet"),
    "permuted_mnist": ("mnist", "permuted_inputs", "permuted MNIST"),
    "random_label_mnist": ("mnist", "random_labels", "random-label MNIST"),
    "split_cifar100": ("cifar100", "split_classes", "Split-CIFAR-100"),
}
_REMARKS = {
    "continual_imagenet": "pairs of CIFAR-100 in place of ImageNet",
    "split_cifar100": "its length is not published",
}


def read(root: Path = Path()) -> tuple[Row, ...]:
    """Return every row that can stand beside a condition, table by table as in ``MEASURES``.

    Parameters
    ----------
    root
        Of the project.

    Raises
    ------
    DataError
        When a file is missing, cut short, or holds what is no number or no known name.
    """
    found = [
        *(_mlp(line) for line in _lines(root, "mlp")),
        *(_convnet("cifar100", line) for line in _lines(root, "cifar100")),
        *(_convnet("cifar100", line) for line in _lines(root, "cifar100_selection")),
        *(_convnet("cifar10", line) for line in _lines(root, "cifar10")),
        *_streams(root),
        *(_other(line) for line in _lines(root, "other_papers")),
    ]
    order = list(MEASURES)
    return tuple(sorted(found, key=lambda row: order.index(row.table)))


@dataclass(frozen=True)
class _Line:
    """A line of a file, its cells as values."""

    where: str
    file: str
    values: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.values.get(key)

    def known(self, key: str, table: Mapping[str, Any]) -> Any:
        """Return what a name stands for."""
        if self[key] not in table:
            raise DataError(
                f"{self.where}: {key} is {quoted(self[key])}, expected one of {', '.join(table)}; "
                "restore the file with `git checkout`"
            )
        return table[self[key]]

    @property
    def cells(self) -> dict[str, Interval | None]:
        """Return the measures of the line."""
        factor = NORMAL_TABLES.get(self["table"], 1.0)
        return {
            measure: None
            if self[mean] is None
            else Interval(self[mean], self[half] * factor, SEEDS)
            for measure, (mean, half) in _CELLS[self.file].items()
        }


def _lines(root: Path, name: str) -> Iterator[_Line]:
    path = root / published_path(name)
    pairs = [column for pair in _CELLS.get(name, {}).values() for column in pair]
    header = [*(["table"] if name != "other_papers" else []), *_KEYS[name], *pairs]
    again = "restore it with `git checkout`"
    try:
        found = list(csv.reader(io.StringIO(read_text(path, MOST_BYTES))))
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; run at the project's root, or {again}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: could not be read ({brief(error, 300)}); {again}") from error
    if not found or found[0] != header:
        got = found[0] if found else []
        raise DataError(f"{path}: got columns {quoted(got)}, expected {header}; {again}")
    if len(found) - 1 != _ROWS[name]:
        raise DataError(f"{path}: got {len(found) - 1} rows, expected {_ROWS[name]}; {again}")
    for number, cells in enumerate(found[1:], start=2):
        where = f"{path}: line {number}"
        try:
            values = {
                key: _value(key, cell) for key, cell in zip(header, cells, strict=True)
            }  # fmt: skip
            _check_pairs(values, pairs)
        except ValueError as error:
            raise DataError(f"{where}: {brief(error, 300)}; {again}") from error
        yield _Line(where, name, values)


def _value(key: str, cell: str) -> str | float | None:
    """Return a text, a number, or None for an empty cell of a difference, which dense has not."""
    if key in _TEXTS:
        return cell
    if cell == "" and "delta" in key:
        return None
    number = float(cell)
    if not math.isfinite(number) or (number < 0 and key.endswith("ci95")):
        raise ValueError(
            f"{key} is {brief(cell)}, expected a finite number, and no half-width below 0"
        )
    return number


def _check_pairs(values: Mapping[str, Any], pairs: Sequence[str]) -> None:
    for mean, half in zip(pairs[::2], pairs[1::2], strict=True):
        if (values[mean] is None) != (values[half] is None):
            raise ValueError(f"{mean} and {half}: got one of the two, expected both or neither")


def _named(line: _Line, *more: str) -> str:
    if line["arm"] == "dense":
        return "dense"
    return ", ".join([str(line["arm"] or "grow"), f"{line['compactness']:g} %", *more])


def _settings(line: _Line, dataset: str) -> dict[str, Any]:
    """Return what every row fixes; a budget has no meaning where nothing is edited."""
    op = _OPERATORS[str(line["arm"]).partition("+")[0]] if line["arm"] else "grow"
    budget = {} if op == "dense" else {"compactness": line["compactness"] / 100, **_STRUCTURE}
    return {"dataset": dataset, "op": op, **_INTERVENTION, **budget}


def _mlp(line: _Line) -> Row:
    dataset, group = line.known("dataset", _SETS)
    line.known("arm", _OPERATORS)
    own = dict(_CYCLES) if line["arm"] == "dense" else {**_CYCLES, "edit.allocation": "neutral"}
    row = Row("T3", group, _named(line), line.cells, _settings(line, dataset) | own)
    if line["dataset"] == "mnist_iid":
        return replace(row, size=_SIZES["mnist"])
    return replace(row, unlike=True, remark="the structures of streams are not retrained here")


def _convnet(dataset: str, line: _Line) -> Row:
    tables = dict.fromkeys(("T4", "T9", "T7", "T10"))
    line.known("table", tables)
    more = []
    settings: dict[str, Any] = dict(_CYCLES)
    if line.file == "cifar100_selection":
        settings["intervention.selection.grow"] = line.known("selection", _SELECTION)
        settings["edit.allocation"] = "neutral"
        more.append(f"by {line['selection']}")
    else:
        line.known("arm", _OPERATORS)
        line.known("allocation", catalogue.ALLOCATIONS)
        settings["edit.allocation"] = line["allocation"]
        more += [line["allocation"]] if line["table"] == "T9" else []
    if line["arm"] == "dense":
        settings = dict(_CYCLES)  # nothing is edited, but its TAA is a mean over ends of cycles
    label = catalogue.DATASETS[dataset].label
    name = _named(line, *more)
    settings = _settings(line, dataset) | settings
    return Row(line["table"], label, name, line.cells, settings, _SIZES[dataset])


def _streams(root: Path) -> Iterator[Row]:
    smooth = {line["benchmark"]: line for line in _lines(root, "rsl_settings")}
    sizes: dict[str, dict[str, Any]] = {}
    for line in _lines(root, "stream_settings"):
        name = str(line["stream"])
        parts = name.endswith(("_hard", "_easy"))  # two kinds of tasks, each with all its images
        name = name.removesuffix("_hard").removesuffix("_easy")
        sizes[name] = {
            "continual.images": "all" if parts else int(line["images_per_task"]),
            "continual.batch": int(line["batch"]),
            "continual.steps": int(line["steps_per_task"]),
            "continual.tasks": int(line["num_tasks"])
            + sizes.get(name, {}).get("continual.tasks", 0),
        }
    for line in _lines(root, "streams"):
        dataset, stream, label = line.known("stream", _STREAMS)
        own = dict(line.known("arm", _ARMS))
        if line["arm"] == "grow+rsl":
            options = line.known("stream", smooth)
            own["intervention.activation"] = {
                "rule": "random_smooth_leaky",
                **{key: options[key] for key in ("c", "p", "lower", "upper")},
            }
        yield Row(
            "T14",
            label,
            _named(line),
            line.cells,
            _settings(line, dataset) | own,
            sizes.get(line["stream"], {}),
            stream,
            _REMARKS.get(line["stream"], ""),
        )


def _other(line: _Line) -> Row:
    line.known("learner", learner_catalogue.LEARNERS)
    line.known("stream", catalogue.STREAMS)
    line.known("dataset", catalogue.DATASETS)
    own = {key: value for key, value in learner_settings(line["learner"]).items()
           if key != "edit.continuity"}  # fmt: skip
    size = {"continual.images": int(line["images_per_task"]),
            "continual.tasks": int(line["num_tasks"]),
            "continual.steps": int(line["steps_per_task"])}  # fmt: skip
    name = (
        f"{line['learner']}, {line['stream']}, {line['num_tasks']:g} tasks of "
        f"{line['steps_per_task']:g} steps ({line['source']})"
    )
    cells = {"taoa": Interval(line["average_acc"], None, 1)}
    settings = {"dataset": line["dataset"], **own}
    return Row("other papers", "", name, cells, settings, size, line["stream"],
               only_this_size=True)  # fmt: skip


def matches(row: Row, params: Params) -> bool:
    """Return whether an experiment, or a run of a stream resolved, has the settings of a row."""
    for key in ("dataset", "op", "compactness"):
        if row.settings.get(key, getattr(params, key)) != getattr(params, key):
            return False
    if row.unlike or params.rewinds != (params.op == "prune"):
        return False
    return overlaid(params, row.settings) == params


def runs_of(row: Row, params: Params, runs: Sequence[StreamRun]) -> list[tuple[StreamRun, Params]]:
    """Return the runs of an experiment that have the settings of a row of a stream, each resolved.

    Of a sweep of lengths only the published one counts.
    """
    found = []
    for run in runs:
        if run.stream.rule != row.stream:
            continue
        if len({one.steps for one in runs}) > 1 and run.steps != row.size.get("continual.steps"):
            continue
        own = run.resolved(params)
        if matches(row, own):
            length = {"steps": run.steps, "tasks": run.tasks}
            sized = own.model_copy(update={"continual": own.continual.model_copy(update=length)})
            if same_size(row, sized) or not row.only_this_size:
                found.append((run, sized))
    return found


def same_size(row: Row, params: Params) -> bool:
    """Return whether an experiment has the published size; never where that is not known."""
    return bool(row.size) and not row.remark and overlaid(params, row.size) == params
