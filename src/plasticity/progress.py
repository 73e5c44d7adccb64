"""What the terminal shows while a stage runs: one header, then a line now and then. No torch."""

import contextlib
import json
import math
import sys
import time
from typing import Any, Self, TextIO

from plasticity.files import progress_path, storing
from plasticity.sections import Params
from plasticity.stats import Interval, t_interval

SECONDS_BETWEEN_LINES = 5.0


class Display:
    """Gathers news of all items of a stage; prints at most a line every five seconds.

    A context manager: it owns the open log for machines (``progress.jsonl``).
    """

    def __init__(self, stage: str, params: Params, device: str, key: str, num_items: int) -> None:
        self.stage = stage
        self._num_items = num_items
        self._news: dict[str, dict[str, Any]] = {}
        self._first: dict[str, int] = {}
        self._told: set[tuple[str, int]] = set()
        self._started = self._last_line = time.monotonic()
        self._path = progress_path(stage)
        with storing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._log: TextIO = self._path.open("w")
        self.tell(
            f"op={params.op} dataset={params.dataset} scale={params.scale} "
            f"compactness={params.compactness:g} · {device} · {num_items} jobs · key "
            f"{key}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:  # of which there is more to tell than of the log
            with contextlib.suppress(OSError):
                self._log.close()
        with storing(self._path):
            self._log.close()

    def show(self, news: dict[str, Any]) -> None:
        """Take news of an item, which may be a text to be told at once; print when it is time.

        Raises
        ------
        StorageError
            When the log cannot be written.
        """
        with storing(self._path):
            self._log.write(json.dumps(news) + "\n")
            self._log.flush()
        item = news["item"]
        if "told" in news:
            self.tell(f"{item}: {news['told']}")
            return
        self._first.setdefault(item, news["step"])
        self._news[item] = news
        for seed, step in news["diverged"].items():
            if (item, seed) not in self._told:
                self._told.add((item, seed))
                self.tell(f"{item}: seed {seed} diverged at step {step}; the others go on")
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.tell(self._line(now))

    def _line(self, now: float) -> str:
        shares = [news["step"] / news["steps"] for news in self._news.values()]
        done = math.fsum(shares) / self._num_items
        begun = (
            math.fsum(self._first[item] / news["steps"] for item, news in self._news.items())
            / self._num_items
        )
        graded = any(v is not None for n in self._news.values() for v in n["acc"])
        measure = "acc" if graded else "loss"
        values = [v for n in self._news.values() for v in n[measure] if v is not None]
        interval = t_interval(values) if values else None
        units = next(reversed(self._news.values()))["units"]
        gained = done - begun
        noun = "seed" if len(values) == 1 else "seeds"
        left = (now - self._started) * (1 - done) / gained if gained > 0 else math.inf
        eta = _duration(left) if math.isfinite(left) else "?"
        return (
            f"{done:4.0%} · {len(values)} {noun} · {measure} {_told(interval)} · "
            f"units {units} · eta {eta}"
        )

    def tell(self, text: str) -> None:
        """Print a line at once."""
        sys.stderr.write(f"[{self.stage}] {text}\n")
        sys.stderr.flush()


def _told(interval: Interval | None) -> str:
    """Return a mean with its half-width, or that nobody has a value."""
    if interval is None:
        return "?"
    half = "" if interval.half_width is None else f"±{interval.half_width:.1f}"
    return f"{interval.mean:.1f}{half}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
