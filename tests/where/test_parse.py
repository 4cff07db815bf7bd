from __future__ import annotations

from contextlib import suppress

import pytest
import sqlglot
from hypothesis import example, given, strategies as st

from mlrun.errors import WhereError
from mlrun.where import parse, parse_columns, parse_order, to_text
from mlrun.where.ast import (
    Arith,
    Compare,
    Expr,
    InList,
    IsNaN,
    IsNull,
    Like,
    Literal_,
    Logic,
    Name,
    Neg,
    Not,
    Now,
    TagIn,
    names_in,
)

HOUR = 3_600_000_000


def num(value: float) -> Literal_:
    return Literal_(value, "number")


def text(value: str) -> Literal_:
    return Literal_(value, "text")


def span(value: int) -> Literal_:
    return Literal_(value, "duration")


def at(value: int) -> Literal_:
    return Literal_(value, "time")


STATE, STARTED = Name("run", "state"), Name("run", "started_at")
X, FLAG = Name("params", "x"), Name("params", "flag")


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("state = 'completed'", Compare("=", STATE, text("completed"))),
        ("state == 'it''s'", Compare("=", STATE, text("it's"))),
        ("params.x <> 1e-3", Compare("!=", X, num(0.001))),
        ("params.x > .5", Compare(">", X, num(0.5))),
        ("params.x > -5", Compare(">", X, num(-5))),
        ("params.x < -inf", Compare("<", X, num(float("-inf")))),
        ("params.x >= -(5)", Compare(">=", X, Neg(num(5)))),
        ("params.x = true", Compare("=", X, Literal_(True, "bool"))),
        ("params.x is false", Compare("=", X, Literal_(False, "bool"))),
        ("params.optim.lr = 1", Compare("=", Name("params", "optim.lr"), num(1))),
        ("params.layers.0.units = 1", Compare("=", Name("params", "layers.0.units"), num(1))),
        ("params.x.max = 1", Compare("=", Name("params", "x.max"), num(1))),
        ("metrics.acc > 0", Compare(">", Name("metrics", "acc"), num(0))),
        ("metrics.acc.last > 0", Compare(">", Name("metrics", "acc"), num(0))),
        ("metrics.acc.mean > 0", Compare(">", Name("metrics", "acc", "mean"), num(0))),
        ("metrics.max > 0", Compare(">", Name("metrics", "max"), num(0))),
        ("metrics.max.max > 0", Compare(">", Name("metrics", "max", "max"), num(0))),
        ('metrics.acc."max" > 0', Compare(">", Name("metrics", "acc.max"), num(0))),
        ('metrics."val/acc" > 0', Compare(">", Name("metrics", "val/acc"), num(0))),
        ('metrics."val/acc".max > 0', Compare(">", Name("metrics", "val/acc", "max"), num(0))),
        ('metrics."a ""b"" c" > 0', Compare(">", Name("metrics", 'a "b" c'), num(0))),
        ("params.order = 1", Compare("=", Name("params", "order"), num(1))),
        ("params.select = params.in", Compare("=", Name("params", "select"), Name("params", "in"))),
        ("params.and and params.not", Logic("and", (Name("params", "and"), Name("params", "not")))),
        ("group = 'a'", Compare("=", Name("run", "group"), text("a"))),
        ("\"user\" = 'a'", Compare("=", Name("run", "user"), text("a"))),
        ("params.日本 = 'é'", Compare("=", Name("params", "日本"), text("é"))),
        ("'a b' in tags", TagIn("a b")),
        ("'a' not in tags", Not(TagIn("a"))),
        ("params.flag", FLAG),
        ("not params.flag", Not(FLAG)),
        ("not params.x = 1", Not(Compare("=", X, num(1)))),
        ("params.x in (1, 'a', true)", InList(X, (num(1), text("a"), Literal_(True, "bool")))),
        ("params.x not in (-1)", Not(InList(X, (num(-1),)))),
        ("params.x like '(%'", Like(X, "(%")),
        ("params.x not ilike 'a_'", Not(Like(X, "a_", ignore_case=True))),
        ("params.x is null", IsNull(X)),
        ("params.x IS NOT MISSING", Not(IsNull(X))),
        ("params.x is not nan", Not(IsNaN(X))),
        (
            "params.x between 1 and 2 and params.flag",
            Logic(
                "and", (Logic("and", (Compare(">=", X, num(1)), Compare("<=", X, num(2)))), FLAG)
            ),
        ),
        (
            "params.x not between 1 and 2",
            Not(Logic("and", (Compare(">=", X, num(1)), Compare("<=", X, num(2))))),
        ),
        (
            "params.flag or params.flag and params.x or params.x",
            Logic("or", (FLAG, Logic("and", (FLAG, X)), X)),
        ),
        (
            "params.x - 1 - 2 * 3 = 0",
            Compare("=", Arith("-", Arith("-", X, num(1)), Arith("*", num(2), num(3))), num(0)),
        ),
        ("params.x - -1 = 0", Compare("=", Arith("-", X, num(-1)), num(0))),
        (
            "started_at > now() - interval '7 days'",
            Compare(">", STARTED, Arith("-", Now(), span(7 * 24 * HOUR))),
        ),
        ("started_at = '1970-01-01 01:00'", Compare("=", STARTED, at(HOUR))),
        ("'1970-01-01T01:00:00+01:00' < started_at", Compare("<", at(0), STARTED)),
        ("started_at in ('1970-01-01')", InList(STARTED, (at(0),))),
        ("started_at > timestamp '1970-01-01T00:00:00.000001Z'", Compare(">", STARTED, at(1))),
        ("duration > 90", Compare(">", Name("run", "duration"), span(90_000_000))),
        ("duration > '1h 30m'", Compare(">", Name("run", "duration"), span(HOUR * 3 // 2))),
        (
            "duration > interval '1.5' hours",
            Compare(">", Name("run", "duration"), span(HOUR * 3 // 2)),
        ),
        ("duration > '-1.5 hours'", Compare(">", Name("run", "duration"), span(-HOUR * 3 // 2))),
        (
            "duration < interval 2 weeks",
            Compare("<", Name("run", "duration"), span(14 * 24 * HOUR)),
        ),
        (
            "finished_at - started_at < interval '10 ms'",
            Compare("<", Arith("-", Name("run", "finished_at"), STARTED), span(10_000)),
        ),
    ],
)
def test_what_can_be_said(source: str, tree: Expr) -> None:
    assert parse(source) == tree
    assert parse(to_text(tree)) == tree


@pytest.mark.parametrize(
    ("source", "position", "hint"),
    [
        ("state > 3", 8, "write '3' in quotes"),
        ("lr = 1", 0, "a param is params.lr"),
        ("stat = 'x'", 0, "did you mean 'state'"),
        ("id = 'x'", 0, "did you mean 'run_id'"),
        ("metric.acc > 1", 0, "did you mean metrics.acc"),
        ("parmas.acc > 1", 0, "did you mean 'params'"),
        ("state.acc > 1", 0, "is a column"),
        ("params > 1", 0, "params.<key>"),
        ('"params.lr" = 1', 0, "params.lr"),
        ("params.a and tags = 'a'", 13, "'baseline' in tags"),
        ("state in tags", 0, "'baseline' in tags"),
        ("metrics.val/acc > 0.5", 12, 'metrics."val/acc"'),
        ("0 < metrics.a < 1", 0, "x > 0 and x < 1"),
        ("metrics.a = null", 12, "is null"),
        ("metrics.a != nan", 13, "is nan"),
        ("max(metrics.acc) > 1", 0, "metrics.acc.max"),
        ("nwo() > started_at", 0, "did you mean 'now'"),
        ("lower(name) = 'x'", 0, "no function 'lower'"),
        ("name = 'x' name = 'y'", 11, "operator is missing"),
        ("name = 'x' adn name = 'y'", 11, "did you mean 'and'"),
        ("name = 'x", 7, "does not end"),
        ('name = "x"', 7, "text with '"),
        ("params.x = 1 -- and more", 13, "comments"),
        ("params.x = 1; drop table runs", 12, "without `;`"),
        ("params.x == 1 && params.y", 14, "write `and`"),
        ("started_at > 3", 13, "2026-01-31"),
        ("started_at > 'yesterday'", 13, "no time"),
        ("started_at > '2024-13-01'", 13, "no time"),
        ("started_at > now() - '7 days'", 21, "interval '7 days'"),
        ("started_at > now() - interval '1 month'", 30, "no fixed length"),
        ("started_at > interval '99999999 weeks' + now()", 22, "no duration"),
        ("duration > '5 parsecs'", 11, "seconds"),
        ("duration > started_at", 11, "a time"),
        ("params.x > now()", 11, "a time"),
        ("metrics.a", 0, "compare it"),
        ("true", 0, "a condition is wanted"),
        ("(name = 'x'", 11, "`)` is missing"),
        ("params.x in ()", 13, "at least one"),
        ("params.x in (1, params.y)", 16, "numbers, texts and booleans"),
        ("params.x in (1", 14, "`)` is missing"),
        ("params.x between 1 or 2", 19, "`and` is missing"),
        ("metrics.acc > '0.9'", 14, "without quotes"),
        ("name like 3", 10, "text in quotes"),
        ("params.x like 'a\\'", 14, "escapes nothing"),
        ("metrics.a like 'a'", 0, "takes text"),
        ("state is nan", 0, "never NaN"),
        ("params.x is 3", 12, "null, missing, nan"),
        ("params.x + 'a' > 3", 11, "takes numbers"),
        ("params.x > 1e999", 11, "too large"),
        ("params.x > 0x10", 11, "no number"),
        ("started_at = '0001-01-01T00:00:00+23:59'", 13, "no time"),
        ("params.x + true > 0", 11, "takes numbers"),
        ("-state = 'a'", 1, "no negative"),
        ("(params.x > 1) + 1 > 2", 1, "a value is wanted"),
        ("params. x > 1", 6, "around this dot"),
        ("not", 3, "ends too early"),
        ("params.x =", 10, "ends too early"),
    ],
)
def test_an_error_points_at_the_place_and_suggests(source: str, position: int, hint: str) -> None:
    with pytest.raises(WhereError) as caught:
        parse(source)
    assert hint in str(caught.value)
    assert caught.value.position == position
    arrow = str(caught.value).splitlines()[-1]
    assert arrow == " " * (position + 2) + "^"


def test_the_arrow_of_a_long_expression_stays_on_a_short_line() -> None:
    source = "params.x = 1 and\n\t" + " and ".join(["params.flag"] * 40) + " and stat = 'x'"
    with pytest.raises(WhereError) as caught:
        parse(source)
    *_, line, arrow = str(caught.value).splitlines()
    assert line[arrow.index("^") :].startswith("stat = 'x'")
    assert len(line) < 120


@pytest.mark.parametrize(
    "source",
    [
        "",
        "   ",
        "(" * 5000,
        "(" * 60 + "params.a" + ")" * 60 + " + 1",
        "not " * 5000 + "params.a",
        "-" + " -" * 5000 + "1 > 0",
        " + ".join(["params.a"] * 400) + " > 0",
        " and ".join(["params.a"] * 5000),
        " and ".join(["params.a = 1"] * 5000),
        "params.a in (" + "1," * 6000 + "1)",
        "params.a like '" + "%a" * 5000 + "'",
        "x" * 1_000_000,
        "'" + "x" * 1_000_000,
        "params.a = '\0'",
        "params.a = '\ud800'",
    ],
    ids=lambda s: s[:12],
)
def test_bombs_are_refused(source: str) -> None:
    with pytest.raises(WhereError):
        parse(source)


@pytest.mark.parametrize("given_", [None, 3, b"params.a"])
def test_what_is_no_text_is_refused(given_: object) -> None:
    with pytest.raises(WhereError):
        parse(given_)  # type: ignore[arg-type]


_SOUP = """and or not in is null nan missing like between now( ) ( , . .. - + * / = < > <= != ' "
    'a' "a" 1 .5 1e9 1e400 true inf tags params. params.x metrics.m.max labels."q" state started_at
    duration interval '7d' '2024-01-01' timestamp \\ ; -- /* é \u0661 \0 desc asc"""
_WORDS = st.sampled_from(_SOUP.split())


@given(st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=15).map(" ".join)))
@example("params.x.0.5e")
@example("interval '' = duration")
@example("started_at = '0001-01-01T00:00:00+23:59'")
@example("started_at = '9999-12-31T23:59:59-23:59'")
def test_any_text_gives_a_tree_or_a_where_error(source: str) -> None:
    for read in (parse, parse_order, parse_columns):
        with suppress(WhereError):
            read(source)
    with suppress(WhereError):
        found = parse(source)
        printed = to_text(found)
        assert read_back(printed) == found


def read_back(printed: str) -> Expr:
    try:
        return parse(printed)
    except WhereError as error:
        raise AssertionError(f"printed what cannot be parsed: {error}") from error


def test_the_language_is_a_subset_of_sql() -> None:
    source = """not (params.a in (1, 'x') or metrics."val/acc".max * 2 >= -1e-3) and name not like 'a%'
        and started_at > now() - interval '7 days' and labels.team is not null and 'x' in tags"""
    printed = to_text(parse(source))
    assert sqlglot.parse_one(f"select * from runs where {source}").find(sqlglot.exp.And)
    assert sqlglot.parse_one(f"select * from runs where {printed}").find(sqlglot.exp.And)


def test_orders() -> None:
    keys = parse_order('-metrics."val/acc".max, started_at, params.lr desc, +name asc')
    assert [(k.name, k.descending) for k in keys] == [
        (Name("metrics", "val/acc", "max"), True),
        (STARTED, False),
        (Name("params", "lr"), True),
        (Name("run", "name"), False),
    ]
    assert parse_order(["-started_at", "name"]) == parse_order("-started_at, name")
    assert parse_order("") == parse_order([]) == ()


@pytest.mark.parametrize(
    "order", ["tags", "-stat", "name name", "name,", "-name desc", "1", "params.a + 1", "a;b"]
)
def test_what_is_no_order(order: str) -> None:
    with pytest.raises(WhereError) as caught:
        parse_order(order)
    assert caught.value.position is not None


def test_columns_are_named_as_the_headers_of_frames() -> None:
    wanted = [
        "run_id",
        "tags",
        "labels",
        "params.optim.lr",
        "metrics.val/acc",
        "metrics.acc.max",
        "duration",
    ]
    names = parse_columns(wanted)
    assert [n.column for n in names] == wanted
    assert names[4] == Name("metrics", "val/acc")
    assert names[5] == Name("metrics", "acc", "max")
    assert parse_columns("name, params.x") == (Name("run", "name"), X)
    assert parse_columns(['metrics."a.b/c".min']) == (Name("metrics", "a.b/c", "min"),)
    for bad in ("nme", ["params"], "name,,state", [3], 3):
        with pytest.raises(WhereError):
            parse_columns(bad)  # type: ignore[arg-type]


def test_the_names_of_a_tree() -> None:
    tree = parse(
        "params.a + 1 > metrics.b and not (state like 'x' or params.c is nan) and params.d in (1)"
    )
    assert [n.column for n in names_in(tree)] == [
        "params.a",
        "metrics.b",
        "state",
        "params.c",
        "params.d",
    ]
