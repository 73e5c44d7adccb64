"""Studies: named conditions over shared settings, complete and checked before any is run. No torch.

Conditions that differ in ``train.first_seed`` alone are one arm: they are run one by one, and their
seeds are compared as those of one condition. The arm has the name of its first condition, without
the ending ``_s`` and that condition's first seed: ``dense_s0`` and ``dense_s1`` are ``dense``.

The tables of a condition are kept in a folder named by the hash of its settings: what is there need
not be run again, and other settings never meet old tables. ``study_run`` runs what is missing.
"""

import copy
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from plasticity import RESULTS_VERSION, config, files, sections
from plasticity.claims import NAME, Claim, ClaimForm, parse_claim
from plasticity.errors import ConfigError, DataError
from plasticity.escapes import brief, listed, quoted
from plasticity.sections import Text, nearest
from plasticity.yaml12 import read_yaml

LATER: Mapping[str, Any] = {
    "data.pixels": "standardised",
    "data.subset": "random",
    "network.fan_in": "capacity",
    "edit.until": "last_cycle",
    "measure.accuracy_on": "test",
    "train.first_seed": 0,
    "train.hold": 0.6,
    "train.last_batch": "keep",
    "train.precision": "float32",
    "intervention.regularizer": {"rule": "none", "options": {}},
    "intervention.normalisation": {"rule": "none", "options": {}},
    "intervention.selection.prune.incoming_magnitude.inputs": "alive",
}
"""Parameters that came when results were kept already, each with the value that means what was
before it: with that value it is no part of the hash, so the results are still found. After the
parameter of a rule stand the name of the rule and its option, which other rules do not have."""
MOST_CONDITIONS = 500
DONE, FAILED = "condition.json", "failed.json"
"""What stands in a condition's folder beside its tables, or instead of them."""


class _Code(BaseModel):
    model_config = ConfigDict(strict=True)

    src: str
    stages: str


class _Done(BaseModel):
    """What is read of the record of a condition that was run."""

    model_config = ConfigDict(strict=True)

    results_version: int
    code: _Code
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    earlier_errors: list[str] = []


class _Failed(_Done):
    error: str
    log: list[str] = []


@dataclass(frozen=True)
class Condition:
    """One setting of a study, complete and checked."""

    name: str
    settings: Mapping[str, Any]
    """Dotted parameter -> value: those of the study, and its own."""
    params: sections.Params
    experiment: str
    """Its name and the hash of whatever can change its tables."""
    arm: str
    """What claims and reports call it; conditions that differ in their first seed share it."""


@dataclass(frozen=True)
class Study:
    """What a study asks for."""

    name: str
    title: str
    stages: tuple[str, ...]
    """Brought up to date, with all that they need."""
    conditions: tuple[Condition, ...]
    claims: tuple[Claim, ...] = ()

    @property
    def arms(self) -> dict[str, tuple[Condition, ...]]:
        """Return the name of each arm -> its conditions, the lowest seeds first."""
        found: dict[str, tuple[Condition, ...]] = {}
        for one in self.conditions:
            found[one.arm] = (*found.get(one.arm, ()), one)
        return {
            name: tuple(sorted(some, key=lambda one: one.params.train.first_seed))
            for name, some in found.items()
        }


def _name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,99}", name):
        raise ValueError(
            f"got {quoted(name)}, expected lower-case letters, digits, '_' and '-', a letter "
            "first, at most 100"
        )
    return name


def _claim_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(
            f"got {quoted(name)}, expected letters, digits, '_' and '-', a letter first, at most 40"
        )
    return name


def _stage(name: str) -> str:
    allowed = tuple(config.STAGE_PARAMS)
    if name not in allowed:
        hint = nearest(name, allowed)
        raise ValueError(f"unknown {quoted(name)}{hint} (allowed: {', '.join(allowed)})")
    return name


def _some(entries: Any) -> Any:
    if not entries:
        raise ValueError("is empty; expected at least one")
    return entries


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    title: Annotated[Text, Field(min_length=1, max_length=200)]
    settings: dict[str, Any] = {}
    conditions: Annotated[
        dict[Annotated[str, AfterValidator(_name)], dict[str, Any]], AfterValidator(_some)
    ]
    stages: Annotated[
        tuple[Annotated[str, AfterValidator(_stage)], ...],
        Field(strict=False),
        AfterValidator(_some),
    ] = tuple(config.STAGE_PARAMS)
    margin: Annotated[float, Field(gt=0)] = 1.0
    claims: dict[Annotated[str, AfterValidator(_claim_name)], ClaimForm] = {}


def read(path: Path, params: Path = files.PARAMS) -> Study:
    """Return a study, every condition resolved on the project's parameters.

    Raises
    ------
    ConfigError
        Listing every error of the file: what is no part of a study, and, for each condition, what
        cannot be run.
    """
    tree, base = read_yaml(path), read_yaml(params)
    errors: list[str] = []
    try:
        _name(path.stem)
    except ValueError as error:
        errors.append(f"the name of the file: {error}")
    form: _Form | None = None
    try:
        form = _Form.model_validate(tree)
    except ValidationError as invalid:
        errors += [_explain(error) for error in invalid.errors()]
    settings, resolved, wrong = _conditions(tree, base)
    errors += wrong
    conditions: tuple[Condition, ...] = ()
    stated: list[Claim] = []
    if form is not None and not errors:
        stages = tuple(stage for stage in config.STAGE_PARAMS if stage in form.stages)
        arms, wrong = _arms(resolved, stages)
        errors += wrong
        conditions = tuple(
            Condition(name, settings[name], done, f"{name}-{_digest(done, stages)}", arms[name])
            for name, done in resolved.items()
        )
        errors += _equal_conditions(conditions)
        known = {one.arm: one.params for one in reversed(conditions)}
        for name, claim in form.claims.items():
            parsed, wrong = parse_claim(name, claim, form.margin, known, stages)
            stated.append(parsed)
            errors += wrong
    if errors or form is None:
        noun = "error" if len(errors) == 1 else "errors"
        lines = listed(errors, f"{path}: ")
        raise ConfigError(f"{len(errors)} {noun} in the study\n{lines}")
    return Study(path.stem, form.title, stages, conditions, tuple(stated))


def _explain(error: Any) -> str:
    """Return one line: key, value, what is allowed, the nearest name."""
    key = ".".join(brief(part) for part in error["loc"] if part != "[key]")
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{nearest(key, _Form.model_fields)}"
        case "missing":
            return f"{key}: is missing"
        case "value_error":
            return f"{key}: {error['ctx']['error']}"
    expected = error["msg"].replace("Input should be ", "").replace("dictionary", "mapping")
    return f"{key}: got {quoted(error['input'])}, expected {expected}"


def _conditions(
    tree: Mapping[str, Any], base: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, sections.Params], list[str]]:
    """Return the settings and the parameters of every condition that has the form, and errors."""
    shared, named = tree.get("settings", {}), tree.get("conditions")
    if not isinstance(shared, dict) or not isinstance(named, dict):
        return {}, {}, []
    if len(named) > MOST_CONDITIONS:
        many = f"conditions: got {len(named):,}, expected at most {MOST_CONDITIONS}; make studies"
        return {}, {}, [f"{many} of parts of them"]
    settings = {
        str(name): {str(key): value for key, value in (shared | own).items()}
        for name, own in named.items()
        if isinstance(own, dict)
    }
    resolved: dict[str, sections.Params] = {}
    wrong: dict[str, list[str]] = {}
    for name, values in settings.items():
        filled = copy.deepcopy(dict(base))
        wrong[name] = put_all(filled, values)
        try:
            resolved[name] = config.resolve(filled, "")
        except ConfigError as error:
            lines = str(error).splitlines()[1:]
            wrong[name] += [line.removeprefix("  : ").strip() for line in lines]
    everywhere = [
        line
        for line in next(iter(wrong.values()), [])
        if len(wrong) > 1 and all(line in lines for lines in wrong.values())
    ]
    errors = [f"every condition: {line}" for line in everywhere]
    for name, lines in wrong.items():
        errors += [f"conditions.{brief(name)}: {line}" for line in lines if line not in everywhere]
    return settings, resolved, errors


def put_all(tree: Any, settings: Mapping[str, Any]) -> list[str]:
    """Write settings into a tree of parameters; return a line for each that has no place there."""
    errors = []
    for key, value in settings.items():
        *sections, last = key.split(".")
        if "presets" in (*sections, last)[:1]:
            errors.append(
                f"{brief(key)}: not for a study; set the parameter itself, such as train.lr"
            )
            continue
        section = tree
        for name in sections:
            section = section.setdefault(name, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[last] = value
        else:
            errors.append(
                f"{brief(key)}: '{brief('.'.join(sections))}' is no section; give it a whole value"
            )
    return errors


def _digest(params: sections.Params, stages: Collection[str]) -> str:
    """Return the hash of whatever can change a table of these stages, but for the code."""
    seen = {section for stage in stages for section in config.STAGE_PARAMS[stage]} - {"report"}
    sections = params.model_dump(mode="json", include=seen)
    sections.get("train", {}).pop("workers", None)
    for name, before in LATER.items():
        *path, last = name.split(".")
        place = _inside(sections, path)
        if place.get(last) == before:
            del place[last]
    if params.dataset != "folder":
        for unread in ("folder", "image_size"):  # by any other data set
            sections.get("data", {}).pop(unread, None)
    inputs = {"params": sections, "stages": sorted(stages), "results": RESULTS_VERSION}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]


def _inside(tree: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return the mapping at the end of a path, or an empty one where there is none.

    The name of a rule leads to its options where the parameter has that rule.
    """
    for name in path:
        tree = tree.get("options", {}) if tree.get("rule") == name else tree.get(name, {})
    return tree


def _equal_conditions(conditions: Sequence[Condition]) -> list[str]:
    first: dict[str, str] = {}
    errors = []
    for condition in conditions:
        other = first.setdefault(condition.experiment.rpartition("-")[2], condition.name)
        if other != condition.name:
            errors.append(
                f"conditions.{condition.name}: the same settings as '{other}'; leave one out"
            )
    return errors


def _arms(
    resolved: Mapping[str, sections.Params], stages: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the name of each condition -> that of its arm, and why arms cannot be compared."""
    named: dict[str, str] = {}
    arms: dict[str, list[str]] = {}  # hash of all but the first seed -> conditions
    owner: dict[str, str] = {}  # name of an arm -> its first condition
    errors = []
    for name, params in resolved.items():
        train = params.train.model_copy(update={"first_seed": 0})
        mine = arms.setdefault(_digest(params.model_copy(update={"train": train}), stages), [])
        mine.append(name)
        first = resolved[mine[0]].train.first_seed
        named[name] = arm = mine[0].removesuffix(f"_s{first}")
        if (other := owner.setdefault(arm, mine[0])) != mine[0]:
            errors.append(
                f"conditions.{name}: its arm would be '{arm}', as that of '{other}', from which it "
                "differs in more than train.first_seed; rename one of them"
            )
        errors += [
            f"conditions.{name}: {line}"
            for other in mine[:-1]
            for line in _not_together(params, other, resolved[other], stages)
        ]
    return named, errors


def _not_together(
    params: sections.Params, name: str, other: sections.Params, stages: Collection[str]
) -> Iterator[str]:
    """Return why a condition and another, which differs in its first seed alone, are no arm."""
    if params.train.first_seed == other.train.first_seed:
        return  # equal conditions, told elsewhere
    if shared := sorted({*params.train.all_seeds} & {*other.train.all_seeds}):
        yield (
            f"trains seed {shared[0]}, as '{name}' does, and nothing else tells them apart; set "
            "train.first_seed so that no seed is trained twice"
        )
    if "continual" in stages and params.continual.streams:
        yield (
            f"differs from '{name}' in train.first_seed alone, which streams do not read; leave "
            "out the stage continual, or set continual.streams: []"
        )


def place(study: Study, condition: Condition) -> Path:
    """Return the folder of a condition's tables."""
    return files.study_path(study.name, condition.experiment)


def status(study: Study, condition: Condition, root: Path = Path()) -> str:
    """Return ``done``, ``failed`` (a run tries again) or ``to run``."""
    folder = root / place(study, condition)
    if (folder / DONE).exists():
        return "done"
    return "failed" if (folder / FAILED).exists() else "to run"


def record(folder: Path) -> Mapping[str, Any]:
    """Return what a condition's folder says of its run; of one that was not run, nothing.

    Raises
    ------
    DataError
        When the record cannot be read, or is not one.
    """
    for name, form in ((DONE, _Done), (FAILED, _Failed)):
        if (path := folder / name).exists():
            content: dict[str, Any] = files.read_json(path)
            try:
                form.model_validate(content)
            except ValidationError as invalid:
                first = invalid.errors()[0]
                key = ".".join(map(str, first["loc"])) or "the file"
                raise DataError(
                    f"{path}: is no record of a run: {key}: {first['msg']}; {files.remedy(path)}"
                ) from invalid
            return content
    return {}


def select(study: Study, only: Sequence[str]) -> tuple[Condition, ...]:
    """Return the conditions of these names, or all when there is no name.

    Raises
    ------
    ConfigError
        For a name that is no condition's.
    """
    known = [condition.name for condition in study.conditions]
    if unknown := sorted(set(only) - set(known)):
        lines = [f"--only: unknown {quoted(name)}{nearest(name, known)}" for name in unknown]
        raise ConfigError(f"no such condition\n{listed([*lines, f'there are {known}'])}")
    return tuple(one for one in study.conditions if not only or one.name in only)
