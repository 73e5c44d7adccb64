"""The tidy tables that stages write and reports read, checked at both ends. No torch.

Accuracies are percent. Floats are written with ``repr``, so that reading gives back the same bits;
a missing value is an empty cell. Rows are sorted by the columns in ``KEYS``.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plasticity.errors import CheckError, DataError
from plasticity.escapes import brief, csv_text, is_formula, quoted, unprintable
from plasticity.files import read_text, remedy, table_path, write_text

if TYPE_CHECKING:
    import pandas as pd

Value = int | float | str | None
Row = Mapping[str, Value]
MOST_BYTES = 512_000_000
"""Of a table that is read; those of the largest studies have a few million."""

SCHEMAS: dict[tuple[str, str], dict[str, type]] = {
    ("train", "seeds"): {
        "seed": int,
        "status": str,  # ok | diverged
        "diverged_step": int,  # empty unless diverged
        "cycle_acc": float,  # test accuracy at the end, all test images
        "cycle_taa": float,  # mean over the ends of cycles
        "epoch_taa": float,  # mean over all epochs
        "units": str,  # alive units per hidden layer at the end, "205-205-102"
        "parameters": int,  # of the alive network
        "flops": float,  # training, forward and backward, masked units counted 0
        "active_unit_steps": float,  # alive units summed over optimizer steps
    },
    ("train", "history"): {
        "seed": int,
        "epoch": int,  # epochs finished, from 1
        "cycle": int,  # from 0
        "step": int,  # optimizer steps finished
        "lr": float,  # of the epoch's last step
        "loss": float,  # mean over the epoch's batches, before each update
        "online_acc": float,  # the same for accuracy, on the training batches
        "acc": float,  # test accuracy
        "test_images": int,
        "cycle_end": int,  # 1 at the ends of cycles, which use all test images
        "units": str,
        "alive_units": int,
        "flops": float,  # so far
        "active_unit_steps": float,  # so far
    },
    ("train", "curve"): {  # for `dvc plots`: mean over seeds with its 95 % t-interval
        "epoch": int,
        "seeds": int,
        "mean": float,
        "low": float,
        "high": float,
    },
    ("train", "edits"): {
        "seed": int,
        "event": int,  # from 0
        "cycle": int,
        "step": int,
        "layer": str,  # conv1, fc1, ...
        "requested": int,  # units the schedule asked to move
        "added": int,
        "removed": int,
        "alive_before": int,
        "alive_after": int,
        "rewound": int,  # 1 when weights went back to their initial values
    },
    ("train", "cohorts"): {
        "seed": int,
        "event": int,
        "cycle": int,
        "step": int,
        "age": int,  # optimizer steps since the event; -1 just before it
        "moment": str,  # before | birth | along | end
        "layer": str,
        "cohort": str,  # newborn | incumbent | kept | removed | masked | founder | eventN, or
        # matched_newborn | matched_incumbent: those whose gates are open as often, weighted
        "units": int,
        "silent": int,  # units that feel no gradient; logarithms leave them out
        "activation_rate": float,  # mean over units of the share of probe images above threshold
        "gradient": float,  # mean over units of mean |dL/dz|, per example
        "log_gradient": float,  # mean over units of its natural logarithm; the sum of the next four
        "log_norm": float,  # of the norm of the outgoing weights to alive units
        "log_gate": float,  # of mean |act'(z)|
        "log_error": float,  # of the mean error norm of the next layer
        "log_alignment": float,  # of the alignment of outgoing weights and error
        "update_in": float,  # |change| / |incoming weights| of the last optimizer step
        "update_out": float,  # the same for outgoing weights
        "contribution": float,  # share of what the layer sends on, over the fair share
        "median_log_gradient": float,
    },
    ("train", "shocks"): {
        "seed": int,
        "event": int,
        "step": int,
        "logit_shift": float,  # mean |logit after - logit before| on the probe
        "loss_before": float,
        "loss_after": float,
        "acc_before": float,  # on the probe's training images
        "acc_after": float,
    },
    ("train", "health"): {  # at the end of every cycle
        "seed": int,
        "event": int,
        "step": int,
        "layer": str,  # or all: the whole network
        "units": int,
        "dead": float,  # share of alive units that are never active on the probe
        "dormant_010": float,  # share whose mean activation is at most 0.01 of the layer's mean
        "dormant_025": float,
        "dormant_100": float,
        "effective_rank": float,  # of the layer's activations
        "stable_rank": float,
        "weight_norm": float,  # mean norm of the incoming weights of a unit
        "gradient_cosine": float,  # mean cosine between the gradients of two images
        "gradient_rank": float,  # effective rank of the matrix of those cosines
    },
    ("train", "lifelines"): {  # every unit of the first seed
        "seed": int,
        "layer": str,
        "slot": int,
        "born_step": int,
        "removed_step": int,  # empty where it lived to the end
    },
    ("retrain", "seeds"): {
        "variant": str,
        "seed": int,
        "status": str,
        "diverged_step": int,
        "ticket_acc": float,
        "ticket_taa": float,  # mean over the same grid as cycle_taa
        "epoch_taa": float,
        "delta_acc": float,  # ticket_acc - cycle_acc of the same seed
        "units": str,
        "parameters": int,
        "flops": float,
    },
    ("retrain", "history"): {
        "variant": str,
        "seed": int,
        "epoch": int,
        "step": int,
        "loss": float,
        "acc": float,
        "test_images": int,
        "cycle_end": int,
    },
    ("extract", "seeds"): {
        "seed": int,
        "units_requested": str,
        "units": str,
        "parameters": int,
        "forward_flops": int,  # per image, 2 per multiply-add
        "full_parameters": int,
        "full_forward_flops": int,
        "max_difference": float,  # largest |masked - extracted| logit over the test images
        "largest_logit": float,
        "same_predictions": int,  # 1 when every test image gets the same class
    },
    ("continual", "seeds"): {
        "stream": str,
        "learner": str,
        "task_steps": int,  # optimizer steps of a task
        "seed": int,
        "status": str,
        "diverged_step": int,
        "lr": float,
        "own": str,  # value that tuning chose for the learner's own parameter
        "tasks": int,
        "taoa": float,  # mean online accuracy over all mini-batches of scored tasks
        "early_acc": float,  # the same over the first tenth of each task
        "first_task": float,
        "last_task": float,
        "slope": float,  # points per task over the second half of the stream
        "plasticity_loss": float,  # first tasks less last tasks, in points
        "steps_50": float,  # steps to half of a task's last accuracy; mean of tasks with any
        "steps_90": float,
        "loss": float,
        "final_acc": float,  # test accuracy over all classes met; class-incremental streams only
        "forgetting": float,
        "backward_transfer": float,
        "forward_transfer": float,
        "units": str,
        "flops": float,
    },
    ("continual", "tasks"): {  # of more than 100 tasks, means over 100 groups of neighbours
        "stream": str,
        "learner": str,
        "task_steps": int,
        "seed": int,
        "task": int,  # from 0; the last of its group
        "tasks": int,  # of the group; those that are not scored are left out
        "step": int,  # optimizer steps finished
        "online_acc": float,  # before each update, mean over the task
        "early_acc": float,
        "loss": float,
        "units": str,
        "alive_units": int,
        "flops": float,
    },
    ("continual", "profiles"): {  # within tasks: mean over seeds and over a group of tasks
        "stream": str,
        "learner": str,
        "task_steps": int,
        "task": int,  # the last of its group
        "part": int,  # of the task, from 0
        "step": int,  # of the task, at the end of the part
        "acc": float,
        "seeds": int,
    },
    ("continual", "health"): {  # at the end of at most 50 evenly spaced tasks
        "stream": str,
        "learner": str,
        "task_steps": int,
        "seed": int,
        "task": int,
        "layer": str,
        "units": int,
        "dead": float,
        "dormant_025": float,
        "effective_rank": float,
        "weight_norm": float,
    },
    ("continual", "matrix"): {  # class-incremental streams only
        "stream": str,
        "learner": str,
        "task_steps": int,
        "seed": int,
        "after": int,  # tasks finished; 0 is the untrained network
        "task": int,
        "acc": float,  # on the task's test images, all classes of the stream to choose from
    },
    ("continual", "tuning"): {
        "stream": str,
        "learner": str,
        "task_steps": int,
        "own": str,
        "lr": float,
        "seed": int,
        "score": float,  # mean online accuracy, or the loss with its sign turned
        "chosen": int,
    },
}

KEYS = (
    "stream",
    "variant",
    "learner",
    "task_steps",
    "seed",
    "after",
    "epoch",
    "task",
    "part",
    "event",
    "step",
    "age",
    "moment",
    "layer",
    "cohort",
    "slot",
    "born_step",
)


def write_table(stage: str, table: str, rows: Iterable[Row]) -> None:
    """Write a stage's table, sorted by its keys.

    Raises
    ------
    CheckError
        When a row's columns, a type or a number do not fit the schema.
    """
    schema = SCHEMAS[stage, table]
    keys = [key for key in KEYS if key in schema]
    checked = [_checked(row, schema, f"{stage}/{table}") for row in rows]
    checked.sort(key=lambda row: tuple(row[key] for key in keys))
    cells = ([_cell(row[column]) for column in schema] for row in checked)
    write_text(table_path(stage, table), csv_text(schema, cells))


def _checked(row: Row, schema: Mapping[str, type], name: str) -> Row:
    if set(row) != set(schema):
        raise CheckError(f"{name}: got columns {sorted(row)}, expected {sorted(schema)}")
    for column, kind in schema.items():
        value = row[column]
        fits = value is None or type(value) is kind
        needed = value is None and column in KEYS
        if not fits or needed or (isinstance(value, float) and not math.isfinite(value)):
            raise CheckError(
                f"{name}: {column} is {quoted(value)}, expected a finite {kind.__name__}"
            )
        if isinstance(value, str) and (is_formula(value) or unprintable(value)):
            raise CheckError(
                f"{name}: {column} is {quoted(value)}, expected a text without control characters "
                "that starts with none of = + - @, which spreadsheets would compute"
            )
    return row


def _cell(value: Value) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def read_table(stage: str, table: str, root: Path = Path()) -> "pd.DataFrame":
    """Return a stage's table, every cell checked; a missing number is NA or NaN.

    Raises
    ------
    DataError
        When the table is missing, cut short, or not what the schema says.
    """
    import pandas as pd  # 0.5 s, and most stages only write

    path = root / table_path(stage, table)
    schema = SCHEMAS[stage, table]
    try:
        text = read_text(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; {remedy(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: could not be read ({why}); {remedy(path)}") from error
    try:
        header, *rows = csv.reader(io.StringIO(text)) if text.endswith("\n") else [[]]
    except csv.Error as error:
        raise DataError(f"{path}: {error}; {remedy(path)}") from error
    if header != list(schema):
        raise DataError(
            f"{path}: got columns {quoted(header)}, expected {list(schema)}; it was cut short or "
            f"written by another version: {remedy(path)}"
        )
    columns: dict[str, list[Value]] = {column: [] for column in schema}
    for number, row in enumerate(rows, start=2):
        try:
            for (column, kind), cell in zip(schema.items(), row, strict=True):
                columns[column].append(_value(cell, kind))
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: line {number}: {brief(error, 300)}; {remedy(path)}"
            ) from error
    types = {int: "Int64", float: "float64", str: "string"}
    return pd.DataFrame(
        {
            column: pd.array(values, dtype=types[schema[column]])  # type: ignore[call-overload]
            for column, values in columns.items()
        }
    )


def _value(cell: str, kind: type) -> Value:
    """Return what a cell says; an empty one is None.

    Raises
    ------
    ValueError
        When it does not say a finite value of its column's type.
    """
    if cell == "" or kind is str:
        return cell or None
    value = int(cell) if kind is int else float(cell)
    if not math.isfinite(value) or (kind is int and abs(value) >= 2**63):
        raise ValueError(f"got {quoted(cell)}, expected a finite {kind.__name__}")
    return value
