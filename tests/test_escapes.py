"""Values of files as parts of other texts: what each target would make of them."""

import ast
import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from import_graph import SRC
from markdown_it import MarkdownIt
from study_tables import write_study

from plasticity import escapes
from plasticity.claims import Claim
from plasticity.files import STUDY_FIGURES
from plasticity.report.comparison import costs, marks, page, scorecard
from plasticity.report.comparison.gather import Comparison
from plasticity.report.comparison.verdicts import decide
from plasticity.report.page import environment

MARKUP = "<img src=x onerror=alert(1)> | [a](javascript:b) `c` *d* \"e\" 'f' {{ 7 * 7 }} </script>"
FORMULAS = ["=1+1", "+cmd", "-cmd|' /C calc'!A0", "@SUM(A1)", "\tx", "\rx", "=", "-"]
HUGE = {
    "text": "x" * 100_000,
    "list": [[[[1] * 50] * 50] * 50] * 50,
    "mapping": {f"key{number}": "y" * 1000 for number in range(100)},
    "integer": 10**5000,
    "lines": "a\nb" * 1000,
}

# -- messages


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
def test_a_quoted_value_is_one_line_of_bounded_length(value):
    assert len(escapes.quoted(value)) <= escapes.LONGEST
    assert len(escapes.quoted(value).splitlines()) == 1


@pytest.mark.parametrize("value", ["a'b", 1.5, True, None, [1, "a"], {"a": 1}, -3])
def test_a_short_value_is_quoted_as_python_writes_it(value):
    assert escapes.quoted(value) == repr(value)


@given(st.text())
@example("\x1b[31mred")
@example("\ud800")
def test_a_name_in_a_message_is_one_printable_line(text):
    shown = escapes.brief(text)
    assert len(shown) <= escapes.LONGEST
    assert len(shown.splitlines()) <= 1
    assert escapes.unprintable(shown) is None
    shown.encode()


def test_of_many_errors_the_first_are_listed_with_the_number_of_the_others():
    lines = escapes.listed([str(number) for number in range(1000)], "a: ").splitlines()
    assert len(lines) == escapes.TOLD + 1
    assert (lines[0], lines[-1]) == ("  a: 0", f"  ... and {1000 - escapes.TOLD} more")


# -- Markdown


@given(
    st.text(alphabet=st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" _*|\\`<&"))
)
@example(MARKUP)
@example("\\|")
@example("**a** __b__ ~~c~~ ![d](e) <b>f</b> &lt; \\`g\\`")
def test_a_cell_of_markdown_shows_the_text_and_nothing_else(text):
    table = f"| {escapes.markdown(text)} | end |\n| --- | --- |\n"
    tokens = (
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(table)
    )
    cells = [one for one in tokens if one.type == "inline"]
    assert [one.content for one in cells][1:] == ["end"]
    assert {part.type for part in cells[0].children} <= {"text"}
    assert "".join(part.content for part in cells[0].children) == " ".join(text.split())


# -- CSV


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_compute_is_a_text(text):
    frame = pd.DataFrame({"a": [text], text: [1]})
    cell = f"'{text}".replace("\r", " ")
    for written in (escapes.csv_text(["a", text], [[text, 1]]), escapes.frame_csv(frame)):
        assert list(csv.reader(io.StringIO(written, newline=""))) == [
            ["a", cell],
            [cell, "1"],
        ]


def test_numbers_and_plain_texts_are_written_as_they_are():
    frame = pd.DataFrame({"a": [-1.5, None], "b": ["-1.5", "x-1"], "c": ["+3", None]})
    assert escapes.frame_csv(frame) == "a,b,c\n-1.5,-1.5,+3\n,x-1,\n"
    assert escapes.csv_text(["a", "b"], [[-1.5, None], ["-2e-05", ""]]) == "a,b\n-1.5,\n-2e-05,\n"


# -- Python


@pytest.mark.parametrize(
    ("escape", "value"),
    [
        (escapes.integer, "1); print(2"),
        (escapes.integer, True),
        (escapes.integer, 1.0),
        (escapes.number, "0.1"),
        (escapes.number, float("nan")),
        (escapes.number, float("inf")),
        (escapes.number, None),
        (escapes.text, 3),
    ],
)
def test_what_is_not_of_its_kind_never_becomes_python(escape, value):
    with pytest.raises(ValueError, match="expected a"):
        escape(value)


@given(st.integers() | st.floats(-1e9, 1e9, allow_subnormal=False) | st.text())
def test_python_reads_back_what_was_written(value):
    escape = escapes.text if isinstance(value, str) else escapes.number
    assert ast.literal_eval(escape(value)) == value


# -- a whole study


class Tags(HTMLParser):
    """Every tag with its attributes but those that hold words; brackets are set in <i>."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        words = {"aria-label", "title"}
        if tag != "i":
            self.found.append((tag, tuple(pair for pair in attrs if pair[0] not in words)))


def with_claims(comparison, words, name):
    """Return a comparison whose claims say these words under this name, unread and so unchecked."""
    made = Comparison(comparison.study, comparison.arms)
    claims = [
        Claim(name, words, words, one.expects, one.margin, one.contrasts, one.across)
        for one in comparison.study.claims
    ]
    vars(made)["decisions"] = tuple(
        decide(one, {part: comparison.values(part) for part in one.references}) for one in claims
    )
    return made


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    arms = {"grow_50": {}, "prune_50": {"op": "prune"}}
    claim = {"says": "x", "expects": "more", "contrasts": [["grow_50", "prune_50"]]}
    return write_study(tmp_path_factory.mktemp("study"), arms, {"C1": claim})


def test_words_of_a_study_add_no_element_to_its_page(compared):
    body = [costs.section(compared)]
    plain, hostile = (
        page.render(with_claims(compared, words, name), body)
        for words, name in (("plain", "C1"), (MARKUP, MARKUP))
    )
    assert Tags(plain).found == Tags(hostile).found
    assert "&lt;img src=x" in hostile


@pytest.mark.parametrize("name", ["=1+1", MARKUP])
def test_words_of_a_study_are_cells_of_its_scorecard(compared, name):
    text = scorecard.markdown(with_claims(compared, MARKUP, name).decisions)
    assert "<img" not in text
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()} == {5}


def test_no_table_of_a_study_holds_a_formula(compared, tmp_path, monkeypatch):
    monkeypatch.setattr(page.sections, "every", lambda _: [])  # tables, not figures
    page.write(with_claims(compared, MARKUP, "=1+1"), tmp_path)
    tables = [path.read_text() for path in (tmp_path / STUDY_FIGURES).glob("*.csv")]
    cells = [cell for text in tables for row in csv.reader(text.splitlines()) for cell in row]
    assert "'=1+1" in cells
    assert [cell for cell in cells if escapes.is_formula(cell)] == []


def test_a_name_in_an_expression_of_a_figure_is_a_text_of_it(compared):
    section = costs.section(compared)
    assert section is not None
    frame = section.figures[0].data
    name = "it's\" + 1"
    axis = marks.zoom(costs.TOP, float(frame["acc"].max()), frame["acc"])
    title = costs._panel(name, frame, axis, 100).to_dict()["title"]["text"]["expr"]
    assert ast.literal_eval(title.removesuffix(" + cost")) == f"{name}, by "


# -- every place that writes such a text


ALLOWED = {
    # what turns values into such a text -> the only modules that may call it
    "to_csv": {"escapes"},
    "writer": {"escapes"},
    "DictWriter": set(),
    "Markup": {"report.page", "report.comparison.scorecard"},  # of escaped text; of numbers
    "dump": {"study_clone"},  # ruamel.yaml, of a condition's parameters
    "safe_dump": set(),
}
SAFE = {"hashes | join(' ')", "css", "script"}
"""What templates take without an escape, besides literals: the project's own files."""


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            yield name, node


@pytest.mark.parametrize("path", sorted((SRC / "plasticity").rglob("*.py")), ids=lambda p: p.stem)
def test_no_module_makes_such_a_text_by_itself(path):
    module = ".".join(path.relative_to(SRC / "plasticity").with_suffix("").parts)
    found = {name for name, _ in calls(path) if module not in ALLOWED.get(name, {module})}
    assert found == set()
    pasted = [
        ast.unparse(node)
        for name, node in calls(path)
        if name in {"write_text", "write_bytes"}
        and any(isinstance(inner, ast.JoinedStr) for inner in node.args[-1:])
    ]
    assert pasted == [], "a file is written by its own writer"


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.j2")), ids=lambda p: p.name)
def test_a_template_takes_nothing_of_a_file_without_an_escape(path):
    unescaped = re.findall(r"{{ ([^{}]*?) \| safe\b", path.read_text())
    assert [one for one in unescaped if one not in SAFE and not re.fullmatch(r"'[^']*'", one)] == []


def test_templates_are_escaped_by_default():
    assert environment().from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
