"""`run_sql`: nothing but reads, and errors that help."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.errors import SnapshotExpired, SQLError
from mlrun.sqlquery.answer import run_sql

RUNS = pl.DataFrame({"run_id": ["a"], "name": ["mlp"], "state": ["error"], "iteration": [1]})
METRICS = pl.DataFrame({"run_id": ["a"], "key": ["loss"], "step": [0], "value": [1.0]})
TABLES = {"runs": RUNS.lazy, "metrics": METRICS.lazy}

REFUSED = {
    "": "empty",
    "-- nothing": "empty",
    "select nope": "no column 'nope': the query names no table",
    "drop table runs": "one SELECT; this is DROP",
    "delete from runs": "this is DELETE",
    "insert into runs select * from runs": "this is INSERT",
    "create table t as select * from runs": "this is CREATE",
    "copy runs to 'x.csv'": "this is COPY",
    "pragma database_list": "this is PRAGMA",
    "set a = 1": "this is SET",
    "attach 'x.db'": "this is ATTACH",
    "show tables": "this is SHOW",
    "explain select 1": "this is EXPLAIN",
    "truncate table runs": "this is TRUNCATE",
    "select 1; drop table runs": "one query at a time",
    "select 1; select 2": "one query at a time",
    "select 1 /* */; -- x\n drop table runs": "one query at a time",
    "with t as (delete from runs returning *) select * from t": "",
    "select * into t from runs": "",
    "select * from read_csv('/etc/passwd')": "read_csv(…) is not allowed",
    "select * from read_parquet('x')": "read_parquet(…) is not allowed",
    "select * from scan_parquet('x')": "scan_parquet(…) is not allowed",
    "select * from url('http://x', 'CSV')": "url(…) is not allowed",
    "select * from file('x')": "no table file",
    "select * from remote('x', 'y')": "remote(…) is not allowed",
    "select * from '/etc/passwd'": "no table",
    'select * from "x.parquet"': "no table",
    "select * from rums": "did you mean 'runs'",
    "select * from other.runs": "no table other.runs",
    "select * from runs join (select * from metrcs) using (run_id)": "did you mean 'metrics'",
    "select nme from runs": "did you mean 'name'",
    "select r.nme from runs r": "did you mean 'name'",
    "select x.name from runs r": "no",
    "select run_id from runs join metrics on metrics.run_id = runs.run_id": "write the table before it",
    "select lenght(name) from runs": "did you mean 'length'",
    "select log(value) from metrics": "ln or log10",
    "select stddev_pop(value) from metrics": "stddev",
    "select getenv('HOME')": "function 'getenv' is not allowed",
    "select load_extension('x')": "is not allowed",
    "select name from runs order by random()": "is not allowed",
    "select unnest(array_agg(name)) from runs": "is not allowed",
    "select name from runs where name like 'a!%' escape '!'": "escape",
    "select percentile_cont(0.5) within group (order by value) from metrics": "quantile_cont",
    "select 1 where 1 = 0": "FROM a table",
    "select name from runs limit (select 1)": "whole number",
    "select cast(name as blob) from runs": "no type",
    "with recursive t as (select 1 as n union all select n + 1 from t) select * from t": "recursive",
    "select name from runs where iteration > any (select step from metrics)": "`any` is not known",
    "select name from runs where (name, state) in (('a', 'b'))": "tuples",
    "select name from runs tablesample (1 rows)": "TABLESAMPLE",
    "select name from runs for update": "is not allowed",
    "select name from runs asof join metrics using (run_id)": "a asof join is not allowed",
    "select name from runs positional join metrics": "a positional join is not allowed",
    "select * from runs('x')": "runs(…) is not allowed",
    "select {'a': 1}": "is not allowed",
    "select name, from": "cannot be read",
    "select (name from runs": "cannot be read",
    "select 'a": "quote open",
    "select ?": "parameters",
    "select $1 from runs": "parameters",
    "select name, state from runs union select key from metrics": "UNION",
    "select cast(name as int) from runs": "conversion",
    "select name, count(*) from runs": "cannot be answered",
    "select name from runs where name > 3": "cannot be answered",
}


@pytest.mark.parametrize("query", REFUSED)
def test_what_is_refused_and_why(query: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SQLError) as caught:
        run_sql(query, TABLES)
    assert REFUSED[query] in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_error_points_at_the_place() -> None:
    query = "select r.name,\n  lenght(r.name)\nfrom runs r"
    with pytest.raises(SQLError) as caught:
        run_sql(query, TABLES)
    assert caught.value.position == query.index("lenght")
    assert str(caught.value).splitlines()[1:] == ["    lenght(r.name)", "    ^"]


@pytest.mark.parametrize(
    "query",
    [
        "select " + "(" * 5000 + "1" + ")" * 5000,
        "select " + "-" * 1 + " -" * 5000 + "1",
        "select 1" + " + 1" * 5000,
        "select name from runs where " + " or ".join(["iteration = 1"] * 5000),
        "select " + "case when true then " * 500 + "1" + " end" * 500,
        "select * from " + "(select * from " * 300 + "runs" + ")" * 300,
        "select 1" + " union select 1" * 3000,
        "select '" + "x" * 200_000 + "'",
        "select '\0'",
        "select '\ud800'",
    ],
    ids=range(10),
)
def test_bombs_are_refused(query: str) -> None:
    with pytest.raises(SQLError):
        run_sql(query, TABLES)


def test_a_place_of_the_machine_is_not_told() -> None:
    def lost() -> pl.LazyFrame:
        return pl.scan_parquet(
            "/nowhere/secret/place/metrics.parquet", schema={"value": pl.Float64}
        )

    with pytest.raises(SnapshotExpired) as caught:
        run_sql("select avg(value) from metrics", {"metrics": lost})
    assert "secret" not in str(caught.value)


_SOUP = """select from where group by order having limit 1 0 ( ) , . * + - / = < > and or not in is null between like
    case when then else end as distinct union all with t r runs metrics run_id name value key 'a' "a" 1.5 join on using
    left over partition count( max( sum( row_number() now() interval 'x exists cast( :: ; -- /* */ [ ] { } -> ? $1 %"""


@given(st.lists(st.sampled_from(_SOUP.split()), max_size=14).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_any_words_give_a_frame_or_a_sql_error(words: str) -> None:
    for query in (words, f"select {words} from runs", f"select name from runs where {words}"):
        try:
            assert isinstance(run_sql(query, TABLES), pl.DataFrame)
        except SQLError as error:
            assert str(error)  # noqa: PT017 - either outcome is right
