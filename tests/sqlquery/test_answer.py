"""`run_sql`: the same answers as SQLite where both speak, and every function by what it returns."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mlrun.sqlquery.answer import run_sql
from mlrun.sqlquery.check import FUNCTIONS, one_select, tables_used
from mlrun.sqlquery.write import engine_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOON = 1_700_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
RUNS = pl.DataFrame(
    {
        "run_id": ["a", "b", "c", "d", "e"],
        "name": ["mlp", "cnn", "mlp", None, "it's"],
        "state": ["completed", "error", "running", "completed", "completed"],
        "group": ["g", "g", "h", None, "h"],
        "iteration": [1, 2, 3, None, 5],
    }
)
METRICS = pl.DataFrame(
    {
        "run_id": ["a", "a", "a", "b", "b", "c", "x"],
        "key": ["loss", "loss", "acc", "loss", "acc", "loss", "loss"],
        "step": [0, 1, 1, 0, 0, 0, 0],
        "value": [1.0, 0.5, 0.75, 2.0, 0.25, -0.5, 9.0],
    }
)
POINTS = pl.DataFrame(
    {
        "k": [1, 2, 4],
        "v": [1.0, math.nan, math.inf],
        "w": [1.0, 2.0, 4.0],
        "s": ["abc", "Abd", " x "],
        "t": pl.Series([NOON, NOON + 1, NOON + 3_600_000_000]).cast(pl.Datetime("us", "UTC")),
        "params.LR": [0.1, 0.2, 0.3],
    }
)
TABLES: Mapping[str, Callable[[], pl.LazyFrame]] = {
    "runs": RUNS.lazy,
    "metrics": METRICS.lazy,
    "points": POINTS.lazy,
}

# Every one gives the same rows in SQLite; those with ORDER BY in the same order.
SAME = """
select r.name, max(m.value) from runs r join metrics m using (run_id) group by 1
select r.name, count(*) from runs r join metrics m using (run_id) group by 1 order by 2 desc, 1
select * from runs
select * from runs r join metrics m using (run_id)
select * from runs r left join metrics m using (run_id)
select run_id, name, value from runs left join metrics using (run_id)
select m.* from runs r join metrics m on r.run_id = m.run_id
select r.name, m.value from runs r left join metrics m on m.run_id = r.run_id and m.key = 'acc'
select r.name, m.value from metrics m left join runs r using (run_id) where r.name is null
select r.run_id, m.run_id from runs r full join metrics m on r.run_id = m.run_id
select count(*) from runs cross join metrics
select r.name, m.key from runs r, metrics m where r.run_id = m.run_id and m.value > 0.5
select a.name, b.name from runs a join runs b on a.iteration < b.iteration
select a.run_id, b.run_id from runs a join runs b on a.name = b.name and a.run_id < b.run_id
select r.name, m.value, n.value from runs r join metrics m using (run_id) join metrics n using (run_id)
select name from runs where run_id in (select run_id from metrics)
select name from runs where run_id not in (select run_id from metrics where key = 'acc')
select name from runs r where exists (select 1 from metrics m where m.run_id = r.run_id and m.value > 1)
select run_id from runs r where not exists (select 1 from metrics m where m.run_id = r.run_id)
select name, (select max(value) from metrics) as top from runs
select run_id, (select max(value) from metrics m where m.run_id = r.run_id) as top from runs r
select run_id, step from metrics m where value = (select max(value) from metrics n where n.run_id = m.run_id)
select run_id from runs where iteration > (select avg(iteration) from runs)
select run_id from runs where iteration = (select max(iteration) from runs)
with t as (select run_id, max(value) as v from metrics group by run_id) select name, v from t join runs using (run_id)
with t as (select run_id, value v from metrics), u as (select run_id, sum(v) from t group by run_id) select * from u
select x.key, x.n from (select key, count(*) as n from metrics group by key) as x where x.n > 2
select name from runs union select key from metrics
select name from runs union all select key from metrics
select run_id from runs intersect select run_id from metrics
select run_id from metrics except select run_id from runs
select run_id from runs union select run_id from metrics order by 1 desc limit 3
select distinct key, run_id from metrics
select count(*), count(iteration), count(distinct name) from runs
select sum(iteration), avg(iteration), min(name), max(name) from runs
select sum(value), avg(value), max(value), count(*) from metrics where key = 'none'
select key, sum(value), avg(value), min(value), max(value) from metrics group by key
select key, count(*) from metrics group by key having count(*) > 2
select "group", count(*) from runs group by "group"
select r."group" from runs r where r."group" = 'h'
select run_id, key, sum(value) from metrics group by run_id, key order by run_id, key
select name from runs order by iteration desc nulls last
select name, iteration from runs order by iteration nulls first limit 2 offset 1
select upper(name) as u from runs order by lower(name) nulls last, run_id
select run_id from runs order by case when state = 'completed' then 0 else 1 end, run_id desc
select key, max(value) - min(value) as spread from metrics group by key order by spread
select key, count(*) from metrics group by key order by sum(value) desc
select case when iteration > 2 then 'late' when iteration is null then 'none' else 'early' end from runs
select case name when 'mlp' then 1 end from runs
select coalesce(name, 'none'), nullif(state, 'error'), ifnull(iteration, -1) from runs
select cast(iteration as text), cast(step as real) from runs cross join metrics
select abs(value), round(value / 3, 2), value * 1.5, -value, value + 1, value - step from metrics
select iteration % 2, iteration * 2, iteration / 2.0 from runs
select lower(name), upper(name), length(name), substr(name, 1, 2), name || '!', replace(name, 'm', 'n') from runs
select trim(' a '), ltrim(' a'), rtrim('a ')
select name from runs where name like 'm%' or name like '_nn'
select name from runs where name not like 'm%'
select name from runs where name = 'it''s'
select name from runs where iteration between 2 and 4 and not state = 'error'
select name from runs where iteration in (1, 3, 5) and name is not null
select name from runs where iteration not in (1, 3) or iteration is null
select name from runs where (iteration > 1) is true
select run_id from runs where name is not distinct from null
select key, step, row_number() over (partition by run_id, key order by step) as rn from metrics
select run_id, key, rank() over (order by step), dense_rank() over (order by step) from metrics
select run_id, step, lag(value) over (partition by run_id order by value) from metrics
select run_id, lead(step, 1, 9) over (partition by run_id order by value) from metrics
select run_id, first_value(value) over (partition by run_id order by value) from metrics
select run_id, value, sum(value) over (partition by run_id order by value) from metrics
select run_id, step, sum(step) over (partition by run_id order by step) from metrics
select value, sum(value) over (order by value rows between 1 preceding and current row) from metrics
select value, avg(value) over w, count(*) over w from metrics window w as (partition by key)
select count(*) over (), run_id from runs
select * from (select run_id, row_number() over (partition by key order by value desc) as rn from metrics) where rn = 1
select sum(value) filter (where key = 'loss') from metrics
select key, count(*) filter (where value > 0.5) from metrics group by key
select sum(case when key = 'loss' then 1 else 0 end) from metrics
select 1 as a, 'x' as b, null as c
SELECT NAME FROM RUNS WHERE STATE = 'error'
""".strip().splitlines()


@pytest.fixture(scope="module")
def sqlite() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("pragma case_sensitive_like = on")
    for name, frame in (("runs", RUNS), ("metrics", METRICS)):
        columns = ", ".join(f'"{c}"' for c in frame.columns)
        connection.execute(f"create table {name} ({columns})")
        marks = ", ".join("?" * frame.width)
        connection.executemany(f"insert into {name} values ({marks})", frame.rows())
    return connection


def rows_of(rows: list[tuple[Any, ...]], *, ordered: bool) -> list[tuple[Any, ...]]:
    plain = [tuple(round(v, 9) if isinstance(v, float) else v for v in row) for row in rows]
    return plain if ordered else sorted(plain, key=lambda row: [(v is None, str(v)) for v in row])


@pytest.mark.parametrize("query", SAME)
def test_the_same_rows_as_sqlite(sqlite: sqlite3.Connection, query: str) -> None:
    ordered = " order by " in query and " over " not in query
    expected = sqlite.execute(query).fetchall()
    answer = run_sql(query, TABLES)
    assert rows_of(answer.rows(), ordered=ordered) == rows_of(expected, ordered=ordered)
    assert len(expected) > 0
    again = run_sql(query, TABLES)
    assert rows_of(answer.rows(), ordered=ordered) == rows_of(again.rows(), ordered=ordered)


CALLS: dict[str, tuple[str, Any]] = {
    "abs": ("abs(-k)", 1), "array_agg": ("array_agg(k)", [1, 2, 4]), "avg": ("avg(w)", 7 / 3),
    "ceil": ("ceil(w + 0.5)", 2.0), "ceiling": ("ceiling(w + 0.5)", 2.0), "char_length": ("char_length(s)", 3),
    "coalesce": ("coalesce(null, k)", 1), "concat": ("concat(s, '-', k)", "abc-1"),
    "concat_ws": ("concat_ws('-', s, s)", "abc-abc"), "corr": ("corr(k, w)", 1.0), "count": ("count(*)", 3),
    "covar_samp": ("covar_samp(k, w)", 7 / 3), "cume_dist": ("cume_dist() over (order by k)", 1 / 3),
    "current_date": ("current_date", date(2023, 11, 14)),
    "current_timestamp": ("current_timestamp - t", timedelta(0)), "date_part": ("date_part('hour', t)", 12),
    "date_trunc": ("date_trunc('day', t)", datetime(2023, 11, 14, tzinfo=UTC)), "day": ("day(t)", 14),
    "dense_rank": ("dense_rank() over (order by k desc)", 3), "ends_with": ("ends_with(s, 'bc')", True),
    "exp": ("exp(k - k)", 1.0), "extract": ("extract(year from t)", 2023), "first": ("first(k)", 1),
    "first_value": ("first_value(k) over (order by k)", 1), "floor": ("floor(w + 0.5)", 1.0),
    "greatest": ("greatest(k, 3)", 3), "group_concat": ("group_concat(s, ',')", "abc,Abd, x "),
    "hour": ("hour(t)", 12), "if": ("if(k > 1, 'a', 'b')", "b"), "ifnull": ("ifnull(null, k)", 1),
    "isinf": ("isinf(v)", False), "isnan": ("isnan(v)", False), "lag": ("lag(k, 1, 7) over (order by k)", 7),
    "last": ("last(k)", 4),
    "last_value": ("last_value(k) over (order by k rows between unbounded preceding and unbounded following)", 4),
    "lead": ("lead(k) over (order by k)", 2), "least": ("least(k, 3)", 1), "left": ("left(s, 2)", "ab"),
    "length": ("length(s)", 3), "ln": ("ln(w)", 0.0), "log10": ("log10(w * 100)", 2.0), "log2": ("log2(w * 8)", 3.0),
    "lower": ("lower(upper(s))", "abc"), "ltrim": ("ltrim('  a')", "a"), "max": ("max(k)", 4),
    "median": ("median(w)", 2.0), "min": ("min(k)", 1), "minute": ("minute(t)", 0), "mod": ("mod(k + 4, 3)", 2),
    "month": ("month(t)", 11), "now": ("now() - t", timedelta(0)), "ntile": ("ntile(3) over (order by k)", 1),
    "nth_value": ("nth_value(k, 1) over (order by k)", 1), "nullif": ("nullif(k, 1)", None),
    "percent_rank": ("percent_rank() over (order by k desc)", 1.0), "pow": ("pow(w + 1, 3)", 8.0),
    "power": ("power(w + 1, 3)", 8.0), "quantile": ("quantile(w, 0.5)", 2.0),
    "quantile_cont": ("quantile_cont(w, 0.25)", 1.5), "quantile_disc": ("quantile_disc(w, 0.25)", 1.0),
    "rank": ("rank() over (order by k desc)", 3), "regexp_like": ("regexp_like(s, '^a.c$')", True),
    "regexp_matches": ("regexp_matches(s, '^b')", False), "replace": ("replace(s, 'b', 'x')", "axc"),
    "reverse": ("reverse(s)", "cba"), "right": ("right(s, 2)", "bc"), "round": ("round(w / 3, 2)", 0.33),
    "row_number": ("row_number() over (order by k)", 1), "rtrim": ("rtrim('a  ')", "a"), "second": ("second(t)", 0),
    "sign": ("sign(-k)", -1), "split_part": ("split_part(s, 'b', 2)", "c"), "sqrt": ("sqrt(w * 4)", 2.0),
    "starts_with": ("starts_with(s, 'ab')", True), "stddev": ("stddev(w)", math.sqrt(7 / 3)),
    "stddev_samp": ("stddev_samp(w)", math.sqrt(7 / 3)), "strftime": ("strftime(t, '%Y-%m-%d')", "2023-11-14"),
    "string_agg": ("string_agg(s, '|')", "abc|Abd| x "), "strpos": ("strpos(s, 'b')", 2),
    "substr": ("substr(s, 2, 1)", "b"), "substring": ("substring(s, 2)", "bc"), "sum": ("sum(k)", 7),
    "trim": ("trim(' a ')", "a"), "upper": ("upper(s)", "ABC"), "var_samp": ("var_samp(w)", 7 / 3),
    "variance": ("variance(w)", 7 / 3), "year": ("year(t)", 2023),
}  # fmt: skip


def test_every_allowed_function_is_called_and_documented() -> None:
    assert set(CALLS) == FUNCTIONS
    guide = (Path(__file__).parents[2] / "docs" / "howto" / "sql.md").read_text(encoding="utf-8")
    listed = guide.partition("Functions: `")[2].partition("`")[0].split()
    assert set(listed) == FUNCTIONS


@pytest.mark.parametrize("name", sorted(CALLS))
def test_what_a_function_returns(name: str) -> None:
    call, expected = CALLS[name]
    answer = run_sql(f"select {call} as it from points", TABLES, now_us=NOON)["it"][0]
    found = answer.to_list() if isinstance(answer, pl.Series) else answer
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-12)
    else:
        assert (found, type(found)) == (expected, type(expected))


def test_text_stays_text() -> None:
    assert run_sql("select 'a\\' as x, ' or 1 = 1 --' as y", TABLES).row(0) == (
        "a\\",
        " or 1 = 1 --",
    )
    assert column("select 'it''s \\'' so'") == ["it's \\' so"]
    assert run_sql('select k as "x"" from runs --" from points', TABLES).columns == [
        'x" from runs --'
    ]


def column(query: str) -> list[Any]:
    return run_sql(query, TABLES, now_us=NOON).to_series().to_list()


def test_what_sqlite_does_not_speak() -> None:
    semi = column("select run_id from runs semi join metrics using (run_id)")
    assert sorted(semi) == ["a", "b", "c"]
    anti = column("select run_id from runs anti join metrics using (run_id)")
    assert sorted(anti) == ["d", "e"]
    ranked = "select value from metrics qualify row_number() over (partition by key order by value desc) = 1"
    assert sorted(column(ranked)) == [0.75, 9.0]
    assert column(
        "with t(a, b) as (select run_id, name from runs) select b from t where a = 'b'"
    ) == ["cnn"]
    assert column("from runs select name where iteration = 2") == ["cnn"]
    assert column('select * exclude (name, state, "group", iteration) from runs limit 1') == ["a"]
    assert column("select name from runs where name ilike 'MLP' group by all") == ["mlp"]
    assert column("select run_id from runs where name is not distinct from null") == ["d"]


def test_times_are_compared_in_utc() -> None:
    assert column("select k from points where t > now()") == [2, 4]
    assert column("select k from points where t > now() + interval '30 minutes'") == [4]
    assert column("select k from points where t >= timestamp '2023-11-14 13:00:00'") == [4]
    assert column("select k from points where t < '2023-11-14T13:00:00+01:00'") == []
    assert column("select max(t) - min(t) from points") == [timedelta(hours=1)]
    assert run_sql("select t from points", TABLES).schema["t"] == pl.Datetime("us", "UTC")


def test_nan_is_a_value_that_isnan_finds() -> None:
    assert column("select k from points where isnan(v)") == [2]
    assert column("select k from points where not isnan(v) and not isinf(v)") == [1]
    assert column("select avg(v) filter (where not isnan(v) and not isinf(v)) from points") == [1.0]


def test_numbers_are_floats_and_whole_numbers_never_decimals() -> None:
    answer = run_sql(
        "select k * 1.5, 1.5, 3 / 2, k, 7 // 2, cast(w as int) from points limit 1", TABLES
    )
    assert answer.row(0) == (1.5, 1.5, 1.5, 1, 3, 1)
    kinds = [pl.Float64, pl.Float64, pl.Float64, pl.Int64, pl.Int64, pl.Int64]
    assert list(answer.schema.values()) == kinds


def test_columns_are_named_by_their_words() -> None:
    query = 'select r.name, max(m.value), count(*) as "N of" from runs r join metrics m using (run_id) group by 1'
    assert run_sql(query, TABLES).columns == ["name", "max(m.value)", "N of"]
    twice = run_sql(
        "select a.name, b.name, a.name from runs a join runs b on a.run_id = b.run_id", TABLES
    )
    assert twice.columns == ["name", "name:b", "name:a"]
    assert run_sql('select "params.LR" from points', TABLES).columns == ["params.LR"]
    assert run_sql(
        'select points."params.LR" as Rate from points order by rate', TABLES
    ).columns == ["Rate"]


def test_missing_comes_last_both_ways() -> None:
    assert column("select iteration from runs order by iteration") == [1, 2, 3, 5, None]
    assert column("select iteration from runs order by iteration desc") == [5, 3, 2, 1, None]
    assert column("select iteration from runs order by iteration desc nulls first") == [
        None,
        5,
        3,
        2,
        1,
    ]


def test_grouped_rows_come_sorted_without_order_by() -> None:
    assert column("select key from metrics group by key") == ["acc", "loss"]
    assert column("select distinct run_id from metrics") == ["a", "b", "c", "x"]


def test_only_the_tables_named_are_built() -> None:
    built: list[str] = []

    def build(name: str, frame: pl.DataFrame) -> Callable[[], pl.LazyFrame]:
        def lazy() -> pl.LazyFrame:
            built.append(name)
            return frame.lazy()

        return lazy

    tables = {"runs": build("runs", RUNS), "metrics": build("metrics", METRICS)}
    run_sql("with metrics as (select run_id from runs) select * from metrics", tables)
    assert built == ["runs"]


def test_a_filter_on_a_joined_key_reaches_both_scans() -> None:
    query = "select r.name, m.value from runs r join metrics m using (run_id) where run_id = 'a' order by m.value"
    tree = one_select(query)
    used = tables_used(tree, TABLES, query)
    text = engine_text(
        tree, {name: TABLES[name]().collect_schema().names() for name in used}, query, 0
    )
    assert text.count("= 'a'") == 2
    assert column("select value" + query.removeprefix("select r.name, m.value")) == [0.5, 0.75, 1.0]


@pytest.mark.parametrize("query", [q for q in SAME if "select" in q])
def test_the_streaming_engine_gives_what_the_other_gives(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = run_sql(query, TABLES)
    collect = pl.LazyFrame.collect
    monkeypatch.setattr(
        pl.LazyFrame, "collect", lambda self, **_: collect(self, engine="in-memory")
    )
    in_memory = run_sql(query, TABLES)
    assert streamed.schema == in_memory.schema
    assert rows_of(streamed.rows(), ordered=False) == rows_of(in_memory.rows(), ordered=False)
