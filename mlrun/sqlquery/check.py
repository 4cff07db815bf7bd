"""What a query may hold: one SELECT over named tables, from a closed list of clauses and functions."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NoReturn

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.optimizer.scope import traverse_scope

from mlrun.errors import SQLError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["FUNCTIONS", "READ_DIALECT", "one_select", "tables_used"]

# Our dialect is DuckDB's, with names as they are written.
READ_DIALECT: Final = "duckdb, normalization_strategy=case_sensitive"
MAX_CHARS: Final = 100_000
MAX_DEPTH: Final = 200
MAX_NODES: Final = 10_000

# Every one is run against the engine by a test.
FUNCTIONS: Final = frozenset(
    """abs array_agg avg ceil ceiling char_length coalesce concat concat_ws corr count covar_samp cume_dist
    current_date current_timestamp date_part date_trunc dense_rank ends_with exp extract first first_value
    floor greatest group_concat if ifnull isinf isnan lag last last_value lead least left length ln log10 log2
    lower ltrim max median min mod now ntile nullif nth_value percent_rank pow power quantile quantile_cont
    quantile_disc rank regexp_like regexp_matches replace reverse right round row_number rtrim sign split_part
    sqrt starts_with stddev stddev_samp strftime string_agg strpos substr substring sum trim upper var_samp
    variance year month day hour minute second""".split()  # noqa: SIM905
)
_FUNCTION_NODES: Final[frozenset[type[exp.Expr]]] = frozenset(
    {
        exp.Abs, exp.ArrayAgg, exp.Avg, exp.Ceil, exp.Coalesce, exp.Concat, exp.ConcatWs, exp.Corr, exp.Count,
        exp.CovarSamp, exp.CumeDist, exp.CurrentDate, exp.CurrentTimestamp, exp.DenseRank, exp.EndsWith,
        exp.Exp, exp.Extract, exp.First, exp.FirstValue, exp.Floor, exp.Greatest, exp.GroupConcat, exp.IsInf,
        exp.IsNan, exp.Lag, exp.Last, exp.LastValue, exp.Lead, exp.Least, exp.Left, exp.Length, exp.Ln, exp.Log,
        exp.Lower, exp.Max, exp.Median, exp.Min, exp.NthValue, exp.Ntile, exp.Nullif, exp.PercentRank,
        exp.PercentileCont, exp.PercentileDisc, exp.Pow, exp.Quantile, exp.Rank, exp.RegexpLike, exp.Replace,
        exp.Reverse, exp.Right, exp.Round, exp.RowNumber, exp.Sign, exp.SplitPart, exp.Sqrt, exp.StartsWith,
        exp.Stddev, exp.StddevSamp, exp.StrPosition, exp.Substring, exp.Sum, exp.TimeToStr, exp.TimestampTrunc,
        exp.DateTrunc, exp.Trim, exp.Upper, exp.Variance, exp.Year, exp.Month, exp.Day, exp.Hour, exp.Minute,
        exp.Second,
    }
)  # fmt: skip
_SYNTAX: Final[frozenset[type[exp.Expr]]] = frozenset(
    {
        exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery, exp.With, exp.CTE, exp.TableAlias,
        exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset,
        exp.Distinct, exp.Qualify, exp.Window, exp.WindowSpec, exp.Filter, exp.Table, exp.Column, exp.Identifier,
        exp.Star, exp.Alias, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE,
        exp.LT, exp.LTE, exp.And, exp.Or, exp.Not, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod,
        exp.Neg, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Exists,
        exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.Interval, exp.Var, exp.DPipe,
    }
)  # fmt: skip
_TYPES: Final = frozenset(
    exp.DataType.Type[name]
    for name in """INT BIGINT SMALLINT DOUBLE FLOAT TEXT VARCHAR BOOLEAN DATE TIMESTAMP TIMESTAMPNTZ
    TIMESTAMPTZ""".split()  # noqa: SIM905
)
_METHODS: Final = ("", "NATURAL")
_KINDS: Final = ("", "INNER", "OUTER", "CROSS", "SEMI", "ANTI")
_HINTS: Final[dict[type[exp.Expr], str]] = {
    exp.Escape: "`escape` is not known; `%` and `_` match themselves in strpos(x, '%')",
    exp.Lateral: "a lateral join is not known; write a window or a join with a subquery",
    exp.Any: "`any` is not known; write `in (select …)` or compare with min() or max()",
    exp.All: "`all` is not known; compare with min() or max()",
    exp.Tuple: "tuples do not compare; compare column by column",
    exp.WithinGroup: "write quantile_cont(x, 0.5)",
    exp.Values: "a query reads tables; `values` is none",
    exp.Into: "sql() only reads",
    exp.Parameter: "parameters are not known; text stands in '…'",
    exp.Placeholder: "parameters are not known; text stands in '…'",
}
_OTHER_NAMES: Final = {
    "log": "ln or log10", "average": "avg", "len": "length", "std": "stddev", "mean": "avg", "nvl": "coalesce",
    "percentile_cont": "quantile_cont", "percentile": "quantile_cont", "any_value": "first", "instr": "strpos",
    "json_extract": "mlrun.params(…), or runs_wide", "stddev_pop": "stddev", "var_pop": "variance", "var": "variance",
}  # fmt: skip


def one_select(query: str) -> exp.Query:
    """Parse a query and check everything in it but its columns.

    Raises:
        SQLError: it is not exactly one SELECT, or it holds what is not on the lists above.
    """
    if not isinstance(query, str):
        raise SQLError(f"a query is text, not {type(query).__name__}")
    if len(query) > MAX_CHARS:
        raise SQLError(f"the query has {len(query):,} characters; at most {MAX_CHARS:,} are read")
    if bad := re.search("[\0\ud800-\udfff]", query):
        raise SQLError("no query holds this character", ascii(query), bad.start() + 1)
    try:
        tokens = sqlglot.tokenize(query, read=READ_DIALECT)
        _check_statements(tokens, query)
        tree = sqlglot.parse_one(query, read=READ_DIALECT)
    except (ParseError, TokenError) as error:
        _refuse_syntax(error, query)
    except (SqlglotError, RecursionError) as error:
        raise SQLError("the query is nested too deeply") from error
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery):
        raise SQLError(f"sql() reads with one SELECT; this is {tree.key.upper()}")
    _check_nodes(tree, query)
    return tree


def _check_statements(tokens: list[Token], query: str) -> None:
    """Refuse other statements before they are parsed."""
    if not tokens:
        raise SQLError("the query is empty")
    first = tokens[0]
    if first.text.lower() not in ("select", "with", "from", "("):
        raise SQLError(
            f"sql() reads with one SELECT; this is {first.text.upper()[:20]}", query, first.start
        )
    for token, following in pairwise(tokens):
        if token.token_type == TokenType.SEMICOLON:
            raise SQLError("one query at a time", query, following.start)


def _refuse_syntax(error: ParseError | TokenError, query: str) -> NoReturn:
    first = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    line, column = first.get("line"), first.get("col")
    if line is None or column is None:
        raise SQLError("the query cannot be read: is a quote open?", query, 0) from error
    start = sum(len(part) for part in query.splitlines(keepends=True)[: line - 1])
    at = max(start, start + column - len(first.get("highlight") or "x"))
    what = str(first.get("description", "")).partition(" but got <Token")[0].partition(". ")[0]
    if first.get("highlight") in (None, "", "SENTINEL"):
        at = len(query)
    raise SQLError(f"the query cannot be read: {what}", query, min(at, len(query))) from error


def _check_nodes(tree: exp.Expr, query: str) -> None:
    waiting, seen = [(tree, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise SQLError("the query is too large: nested too deeply, or too many parts")
        _check_node(node, query)
        waiting.extend((child, depth + 1) for child in node.iter_expressions())


def _check_node(node: exp.Expr, query: str) -> None:
    kind = type(node)
    if isinstance(node, exp.Anonymous):
        if node.name.lower() not in FUNCTIONS:
            _refuse_function(node.name, query)
    elif kind in _FUNCTION_NODES:
        if isinstance(node, exp.Log) and not _is_log10_or_log2(node):
            _refuse_function("log", query)
    elif kind not in _SYNTAX:
        if kind in _HINTS:
            raise SQLError(_HINTS[kind], query, place_of(node, query))
        if isinstance(node, exp.Func):
            _refuse_function(node.sql_name(), query)
        raise SQLError(f"{node.key.upper()} is not allowed in sql()", query, place_of(node, query))
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
        made = node.this
        name = (
            made.sql_name()
            if isinstance(made, exp.Func) and not isinstance(made, exp.Anonymous)
            else made.name
        )
        raise SQLError(f"tables are named, not computed: {name.lower()}(…) is not allowed", query)
    if isinstance(node, exp.DataType) and node.this not in _TYPES:
        known = ", ".join(("int", "bigint", "double", "text", "boolean", "date", "timestamp"))
        message = f"no type {node.sql(READ_DIALECT).lower()!r}; types are {known}"
        raise SQLError(message, query, place_of(node, query))
    if isinstance(node, exp.With) and node.args.get("recursive"):
        raise SQLError(
            "a recursive query may never end and is not allowed", query, place_of(node, query)
        )
    if isinstance(node, exp.Join) and (node.method not in _METHODS or node.kind not in _KINDS):
        message = f"a {(node.method or node.kind).lower()} join is not allowed in sql()"
        raise SQLError(message, query, place_of(node, query))
    if isinstance(node, exp.Select):
        _check_select(node, query)


def _check_select(node: exp.Select, query: str) -> None:
    if not node.args.get("from_") and any(
        node.args.get(a) for a in ("where", "group", "having", "qualify")
    ):
        raise SQLError("a SELECT with a condition reads FROM a table", query, place_of(node, query))
    for clause in ("limit", "offset"):
        bound = node.args.get(clause)
        if bound is not None and not (
            isinstance(bound.expression, exp.Literal) and bound.expression.is_int
        ):
            raise SQLError(f"{clause} is a whole number", query, place_of(bound, query))


def _is_log10_or_log2(node: exp.Log) -> bool:
    base = node.this
    return bool(node.expression) and isinstance(base, exp.Literal) and base.name in ("2", "10")


def _refuse_function(name: str, query: str, why: str = "") -> NoReturn:
    lower = name.lower()
    found = re.search(rf"\b{re.escape(lower)}\b", query, re.IGNORECASE)
    other = _OTHER_NAMES.get(lower)
    hint = f" (did you mean {other}?)" if other else did_you_mean(lower, FUNCTIONS)
    message = f"function {lower!r} is not allowed in sql(){hint}" + (f": {why}" if why else "")
    raise SQLError(message, query, found.start() if found else None)


def place_of(node: exp.Expr, query: str) -> int | None:
    """Return where the first name or word below `node` stands, or None if nothing tells."""
    for part in node.find_all(exp.Expr):
        start = part.meta.get("start")
        if isinstance(start, int) and 0 <= start <= len(query):
            return start
    return None


def tables_used(tree: exp.Query, known: Collection[str], query: str) -> list[str]:
    """Return the names of the stored tables that a query reads, after writing them as they are known.

    Raises:
        SQLError: a table is not known; suggests one.
    """
    used: dict[str, None] = {}
    for scope in traverse_scope(tree):
        for table in scope.tables:
            source = scope.sources.get(table.alias_or_name)
            if source is not None and not isinstance(source, exp.Table):
                continue  # a common table expression of this query
            identifier = table.this
            name = table.name if table.name in known or identifier.quoted else table.name.lower()
            if name not in known or table.args.get("db"):
                hint = did_you_mean(name, known) or f"; tables are {', '.join(sorted(known))}"
                shown = table.sql(READ_DIALECT, comments=False).partition(" AS ")[0]
                raise SQLError(f"no table {shown}{hint}", query, place_of(table, query))
            identifier.set("this", name)
            used[name] = None
    return list(used)
