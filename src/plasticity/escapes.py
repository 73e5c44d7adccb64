"""Values of files as parts of other texts: one escape for each target. No torch.

HTML is the exception: the templates escape whatever they are given. What is here is for messages,
Markdown, CSV, Python and the expressions of Vega.
"""

import csv
import io
import json
import math
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 120
"""Characters of a value that a message quotes."""
TOLD = 200
"""Errors that a message lists, enough for all of a file of parameters; of more, the number."""
FORMULA = "=+-@\t\r"
"""First characters of a cell that spreadsheets take for a formula."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, lone surrogates and separators of lines."""

_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxdict = 3, 8, 8, 8
_short.maxstring = _short.maxlong = _short.maxother = LONGEST


def quoted(value: Any) -> str:
    """Return a value as Python writes it, in one line of at most ``LONGEST`` characters.

    The work is bounded too: of a collection only the first entries and levels are looked at.
    """
    try:
        return _cut(_short.repr(value))
    except ValueError:  # an integer of more digits than Python prints
        return f"a number of {value.bit_length():,} bits"


def brief(text: object, most: int = LONGEST) -> str:
    """Return a text as it is, in one line of at most so many characters; controls as escapes.

    For names, which messages show without quotes, and for what other programs say.
    """
    cut = _cut(str(text), most)
    shown = (ascii(c)[1:-1] if unicodedata.category(c) in _CONTROLS else c for c in cut)
    return _cut("".join(shown), most)


def _cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(errors: Sequence[str], prefix: str = "", most: int = TOLD) -> str:
    """Return errors as indented lines; of more than ``most`` the first ones and their number."""
    lines = [f"{prefix}{line}" for line in errors[:most]]
    if len(errors) > most:
        lines.append(f"... and {len(errors) - most} more")
    return "\n".join(f"  {line}" for line in lines)


def unprintable(text: str, spaces: str = "\n\t") -> str | None:
    """Return the first character of a text that no page or figure can show, as Python writes it.

    New lines and tabs are no such characters: pages show them as spaces. A name has no ``spaces``.
    """
    if text.isprintable():
        return None
    wrong = (one for one in text if one not in spaces and unicodedata.category(one) in _CONTROLS)
    return next((ascii(one) for one in wrong), None)


def markdown(text: str) -> str:
    """Return text for a cell of a Markdown table: one line, without markup, HTML or a cell's end.

    An underscore inside a word is no markup and stays, so that names can be read.
    """
    plain = " ".join(text.split())
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        plain = plain.replace(sign, entity)
    return re.sub(r"([\\`*|~\[\]]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", plain)


def is_formula(text: str) -> bool:
    """Return whether spreadsheets would compute a cell; a plain number is none."""
    return text.startswith(tuple(FORMULA)) and not _NUMBER.fullmatch(text)


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a CSV file; a text that spreadsheets take for a formula gets a ``'`` before it.

    A carriage return becomes a space: readers would end the row there.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_cell(cell) for cell in row] for row in (columns, *rows))
    return buffer.getvalue()


def frame_csv(frame: "pd.DataFrame") -> str:
    """Return a frame as a CSV file without its index; see ``csv_text`` for its texts."""
    safe = frame.copy(deep=False)
    for column in safe.columns:
        if safe[column].dtype.kind not in "biuf":  # bool, integer, float
            safe[column] = safe[column].map(_cell)
    safe.columns = [_cell(column) for column in safe.columns]
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"{chr(39) * is_formula(value)}{value}".replace("\r", " ")


def integer(value: Any) -> str:
    """Return an integer as Python text.

    Raises
    ------
    ValueError
        When it is none.
    """
    if type(value) is not int:
        raise ValueError(f"got {quoted(value)}, expected an integer")
    return repr(value)


def number(value: Any) -> str:
    """Return a finite number as Python text.

    Raises
    ------
    ValueError
        When it is none.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"got {quoted(value)}, expected a finite number")
    return repr(value)


def text(value: Any) -> str:
    """Return a text as a Python literal.

    Raises
    ------
    ValueError
        When it is none.
    """
    if type(value) is not str:
        raise ValueError(f"got {quoted(value)}, expected a text")
    return ascii(value)


def vega(value: str) -> str:
    """Return a text as a literal of a Vega expression."""
    return json.dumps(value)
