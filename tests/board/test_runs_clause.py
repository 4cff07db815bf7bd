from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from mlrun.app.board.runs_clause import (
    _tree,
    added,
    clause,
    name_of_header,
    narrowed,
    needs_value,
    operators,
)
from mlrun.errors import WhereError
from mlrun.where import parse, parse_columns, parse_order, to_text
from mlrun.where.ast import Compare, InList, Like, Literal_, Logic, Name, Not, TagIn
from mlrun.where.parse_names import RUN_COLUMNS

PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
KEYS = st.one_of(
    st.sampled_from(["lr", "val/acc", "a.max", "order", 'q"', "it's", "", "0", "a b", "é"]), PLAIN
)
NAMES = st.one_of(
    st.sampled_from([*RUN_COLUMNS, "tags"]).map(name_of_header),
    st.tuples(st.sampled_from(["params", "results", "metrics", "labels"]), KEYS).map(
        lambda pair: name_of_header(".".join(pair))
    ),
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "5",
            "-0.5",
            "1e400",
            "inf",
            "nan",
            "true",
            "'5'",
            "a, b",
            "x,",
            "it's",
            "100%",
            "a_b",
            "\\",
        ]
    ),
    st.sampled_from(["7 days", "1h 30m", "2026-01-31", "2026-01-31T12:00:00+01:00"]),
    st.floats().map(repr),
    PLAIN,
)


@settings(max_examples=400)
@given(name=NAMES, value=VALUES, data=st.data())
def test_what_is_picked_is_what_the_parser_reads(
    name: Name, value: str, data: st.DataObject
) -> None:
    operator = data.draw(st.sampled_from(operators(name)))
    try:
        text = clause(name, operator, value)
    except WhereError:
        assert needs_value(operator)
        return
    assert parse(text) == _tree(name, operator, value)


@given(name=NAMES)
def test_a_header_becomes_a_name_that_order_and_columns_read_too(name: Name) -> None:
    assert parse_columns([to_text(name)]) == (name,)
    if name.column != "tags":
        assert parse_order("-" + to_text(name))[0].name == name


def test_values_are_read_as_the_column_holds_them() -> None:
    lr, acc = name_of_header("params.lr"), name_of_header("metrics.val/acc")
    state, tags = Name("run", "state"), Name("run", "tags")
    assert clause(lr, "is", "0.1") == "params.lr = 0.1"
    assert clause(lr, "is", "'0.1'") == "params.lr = '0.1'"
    assert clause(lr, "is", "true") == "params.lr = true"
    assert clause(acc, "≥", "1") == 'metrics."val/acc" >= 1'
    assert clause(state, "is one of", "error, lost") == "state in ('error', 'lost')"
    assert clause(tags, "has", "it's") == "'it''s' in tags"
    assert _tree(tags, "has not", "a") == Not(TagIn("a"))
    assert _tree(state, "contains", "100%_") == Like(state, "%100\\%\\_%", ignore_case=True)
    assert clause(Name("run", "started_at"), "in the last", "7 days").startswith(
        "started_at >= now() -"
    )


@pytest.mark.parametrize(
    ("column", "operator", "value", "said"),
    [
        ("metrics.acc", ">", "high", "no number"),
        ("started_at", "after", "soon", "no time"),
        ("duration", "longer than", "-1h", "no duration"),
        ("tags", "has", " ", "missing"),
    ],
)
def test_a_value_of_another_kind_is_refused(
    column: str, operator: str, value: str, said: str
) -> None:
    with pytest.raises(WhereError, match=said):
        clause(name_of_header(column), operator, value)


def test_clauses_are_added_without_changing_what_was_there() -> None:
    assert added("", "a = 1") == "a = 1"
    both = parse(added("state = 'error' or params.x > 1", "params.y = 2"))
    assert isinstance(both, Logic)
    assert both.op == "and"
    assert added("params.x > 1", "params.y = 2") == "params.x > 1 and params.y = 2"
    with pytest.raises(WhereError):
        added("params.x >", "params.y = 2")


def test_states_narrow_a_filter() -> None:
    state = Name("run", "state")
    assert narrowed(" params.x > 1 ", []) == "params.x > 1"
    assert parse(narrowed("", ["error"])) == Compare("=", state, Literal_("error", "text"))
    two = parse(narrowed("params.x > 1", ["error", "lost"]))
    assert isinstance(two, Logic)
    assert isinstance(two.terms[1], InList)
