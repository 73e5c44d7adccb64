"""Who learns in which stream: a learner is a set of parameters over plain backprop. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plasticity import catalogue, learner_catalogue
from plasticity.sections import Choice, Params, Section, label

THREE = 3
"""Hidden layers that every allocation but neutral and erk is defined for."""


@dataclass(frozen=True)
class StreamRun:
    """One learner in one stream."""

    stream: Choice
    learner: str
    steps: int
    """Optimizer steps per task."""
    tasks: int
    lr: float | None = None
    """Learning rate that tuning chose; None is the parameter's."""
    own: int | None = None
    """Which of the values of its own parameter the learner has; None is its default."""

    @property
    def stream_name(self) -> str:
        """Return the stream with its options, as tables name it."""
        return label(self.stream, catalogue.STREAMS)

    @property
    def name(self) -> str:
        """Return a name that no other run of the stage has."""
        own = "" if self.own is None else f"-{self.own}"
        return f"{self.stream_name}-{self.learner}-{self.steps}{own}"

    def resolved(self, params: Params) -> Params:
        """Return the parameters of this run: the learner's, on the stream's network."""
        own = overlaid(params, learner_settings(self.learner) | self._tuned())
        settings = own.continual
        if own.edit.allocation != "erk" and len(settings.widths) != THREE:
            own = overlaid(own, {"edit.allocation": "neutral"})  # the others name three layers
        kind: Literal["mlp", "convnet"] = "convnet" if settings.trunk else "mlp"
        if self.stream.rule == "slowly_changing_regression":
            settings, kind = settings.model_copy(update={"trunk": ()}), "mlp"
        network = own.network.model_copy(
            update={"kind": kind, "widths": settings.widths, "trunk": settings.trunk}
        )
        train = own.train.model_copy(
            update={"optimizer": settings.optimizer, "lr": settings.lr, "momentum": 0.0,
                    "weight_decay": 0.0, "schedule": "constant"}
        )  # fmt: skip
        return own.model_copy(update={"network": network, "train": train, "continual": settings})

    def _tuned(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {} if self.lr is None else {"continual.lr": self.lr}
        if self.own is not None:
            learner = learner_catalogue.LEARNERS[self.learner]
            chosen[learner.own] = learner.values[self.own]
        return chosen


def stream_runs(params: Params) -> dict[str, StreamRun]:
    """Return every run of the continual stage by its name."""
    settings = params.continual
    total = settings.tasks * settings.steps
    lengths = settings.sweep or (settings.steps,)
    runs = [
        StreamRun(stream, learner, steps, max(1, total // steps))
        for stream in settings.streams
        for steps in lengths
        for learner in settings.learners
    ]
    return {run.name: run for run in runs}


def learner_settings(name: str) -> dict[str, Any]:
    """Return what a learner sets; ``operator`` leaves the experiment as it is."""
    own = learner_catalogue.LEARNERS[name].settings
    return dict(own) if name == "operator" else {**learner_catalogue.PLAIN, **own}


def overlaid(params: Params, settings: Mapping[str, Any]) -> Params:
    """Return parameters with some changed, each by its dotted name, and checked by itself."""
    changed: dict[str, Any] = {}
    for section in {key.partition(".")[0] for key in settings}:
        tree = _tree(getattr(params, section))
        for key, value in settings.items():
            top, _, rest = key.partition(".")
            if top == section and not rest:
                tree = value
            elif top == section:
                *path, last = rest.split(".")
                place = tree
                for part in path:
                    place = place[part]
                place[last] = value
        kind = type(getattr(params, section))
        changed[section] = kind.model_validate(tree) if issubclass(kind, Section) else tree
    return params.model_copy(update=changed)


def _tree(value: Any) -> Any:
    """Return a section as nested dictionaries; rules stay whole."""
    if isinstance(value, Section) and not isinstance(value, Choice):
        return {name: _tree(getattr(value, name)) for name in type(value).model_fields}
    return value
