from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.store import Store

    Call = Callable[..., Any]


def rows(text: str) -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found: list[dict[str, Any]] = json.loads(text, parse_constant=refuse)
    return found


def table(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def test_runs_as_json(cli: Call) -> None:
    answer = cli("runs", "--json")
    found = rows(answer.out)
    assert answer.code == 0
    assert answer.err == ""
    assert [r["project"] for r in found] == ["other", "digits", "digits", "digits"]
    first = found[-1]
    assert first["labels"] == {"team": "cv"}
    assert first["params.opt.name"] == "adam"
    assert first["started_at"].endswith("Z")
    assert isinstance(first["duration"], float)
    assert found[1]["tags"] == ["b", "base"]


def test_runs_as_csv_and_in_a_pipe(cli: Call) -> None:
    found = table(cli("runs", "digits", "--csv").out)
    assert [r["name"] for r in found] == ["mlp2", "mlp1", "mlp0"]
    assert found[0]["tags"] == "b,base"
    assert float(found[0]["results.accuracy"]) == 0.92
    piped = cli("runs").out
    assert "\x1b" not in piped
    lines = [line.split("\t") for line in piped.splitlines()]
    assert len({len(line) for line in lines}) == 1  # tabs and line ends in values are escaped
    assert lines[0][:4] == ["run_id", "name", "project", "state"]
    assert lines[1][lines[0].index("notes")] == "a\\tb\\nc"


def test_runs_are_chosen_ordered_and_limited(cli: Call) -> None:
    where = "metrics.\"val/acc\" > 0.5 and params.lr < 0.15 and 'base' in tags"
    [found] = rows(cli("runs", "--where", where, "--columns", "name,params.lr", "--json").out)
    assert found == {"name": "mlp1", "params.lr": 0.1}
    assert rows(cli("runs", "-w", where, "-c", "name", "--json").out) == [{"name": "mlp1"}]
    found_names = rows(
        cli("runs", "-p", "digits", "-o", "params.lr", "-n", "2", "-c", "name", "--json").out
    )
    assert [r["name"] for r in found_names] == ["mlp0", "mlp1"]
    offset = rows(
        cli("runs", "digits", "-o", "-params.lr", "--offset", "2", "-c", "name", "--json").out
    )
    assert [r["name"] for r in offset] == ["mlp0"]
    children = rows(cli("runs", "digits", "--children", "--json").out)
    assert sorted(r["name"] for r in children) == ["kid", "mlp0", "mlp1", "mlp2"]
    quoted = rows(cli("runs", "digits", "-c", 'name,metrics."val/acc"', "-n", "1", "--json").out)
    assert quoted == [{"name": "mlp2", "metrics.val/acc": 0.99}]


def test_nothing_found_is_an_empty_answer(cli: Call) -> None:
    assert cli("runs", "nothing", "--json").out == "[]\n"
    assert cli("runs", "nothing", "--csv", "-c", "name").out == "name\n"


def test_runs_on_a_terminal(tty: Call, store: Store) -> None:
    answer = tty("runs", "digits")
    last = mlrun.get_run("mlp2", store=store)
    assert last.id[-8:] in answer.out
    assert last.id not in answer.out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", answer.out)
    assert 80 <= max(map(len, plain.splitlines())) <= 100
    assert "metrics.loss" in plain
    assert "completed" in answer.out
    assert "more columns" in answer.err
    hostile = tty("runs", "other").out
    assert "\x1b[2J" not in hostile
    assert "\u202e" not in hostile
    assert "[red]" in hostile  # text, no markup


@pytest.mark.parametrize("part", [slice(None), slice(0, 30), slice(-8, None)])
def test_show_takes_ids_ends_of_ids_and_names(cli: Call, store: Store, part: slice) -> None:
    view = mlrun.get_run("mlp1", store=store)
    found = json.loads(cli("show", view.id[part], "--json").out)
    assert found["run"]["name"] == "mlp1"
    assert json.loads(cli("show", "mlp1", "--json").out)["run"]["run_id"] == view.id


def test_show_as_json_has_everything(cli: Call) -> None:
    found = json.loads(cli("show", "mlp1", "--json").out)
    assert found["params"] == {"lr": 0.1, "opt.name": "adam"}
    assert found["results"] == {"accuracy": 0.91}
    assert found["tags"] == ["b", "base"]
    assert found["labels"] == {"team": "cv"}
    loss = found["metrics"]["loss"]
    assert (loss["count"], loss["nan"], loss["last_step"]) == (100, 1, 99)
    assert [a["key"] for a in found["artifacts"]] == ["note"]
    error = rows(cli("runs", "other", "--json").out)[0]
    assert "ValueError: boom" in json.loads(cli("show", error["run_id"], "--json").out)["error"]


def test_show_as_csv(cli: Call) -> None:
    found = {(r["section"], r["key"]): r["value"] for r in table(cli("show", "mlp1", "--csv").out)}
    assert found["params", "lr"] == "0.1"
    assert found["run", "state"] == "completed"
    assert json.loads(found["metrics", "loss"])["count"] == 100


def test_show_on_a_terminal_draws_the_metrics(tty: Call, store: Store) -> None:
    out = tty("show", "mlp1").out
    assert "mlp1" in out
    assert "adam" in out
    acc = next(line for line in out.splitlines() if "val/acc" in line)
    assert "▁" in acc
    assert "█" in acc
    assert "note:v" in out
    failed = mlrun.runs("other", store=store)["run_id"][0]
    shown = tty("show", failed).out
    assert "ValueError: boom" in shown
    assert "\x1b[2J" not in shown


def test_metrics(cli: Call) -> None:
    found = rows(cli("metrics", "mlp0", "--keys", "loss", "--json").out)
    assert len(found) == 100
    assert found[50]["value"] is None  # NaN: JSON has none
    assert found[0] == {**found[0], "key": "loss", "step": 0, "value": 1.0}
    lines = table(cli("metrics", "mlp0", "-k", "loss", "--csv").out)
    assert lines[50]["value"] == "NaN"
    both = table(cli("metrics", "mlp0", "mlp1", "-k", "val/*", "--points", "10", "--csv").out)
    assert len({r["run_id"] for r in both}) == 2
    assert len(both) <= 24
    ranged = rows(
        cli("metrics", "mlp0", "-k", "loss", "--start", "10", "--end", "12", "--json").out
    )
    assert [r["step"] for r in ranged] == [10, 11, 12]
    assert cli("metrics", "mlp0", "--start", "soon").code == 2


def test_sql(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "select name, count(*) as n from runs join metrics using (run_id) group by 1 order by 1"
    assert rows(cli("sql", query, "--json").out) == [
        {"name": f"mlp{i}", "n": 200} for i in range(3)
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("select count(*) as n from tags"))
    assert rows(cli("sql", "-", "--json").out) == [{"n": 4}]
    refused = cli("sql", "drop table runs")
    assert (refused.code, refused.out) == (2, "")


def test_logs(cli: Call, tty: Call) -> None:
    answer = cli("logs", "mlp0")
    assert answer.out.splitlines()[:5] == [f"line {i}" for i in range(5)]
    assert "\x1b[2J" in answer.out  # a pipe gets what the run printed
    assert "\x1b[2J" not in tty("logs", "mlp0").out  # a terminal does not obey it
    assert cli("logs", "mlp0", "--tail", "2", "--stream", "stdout").out == "line 3\nline 4\n"
    found = rows(cli("logs", "mlp0", "--json").out)
    assert {r["stream"] for r in found} == {"stdout", "stderr"}
    assert found[0]["time"] == "1970-01-01T00:00:00.000000Z"
    assert cli("logs", "mlp0", "-t", "-n", "1").out.count(":") >= 2


def test_following_a_run_that_has_ended_ends(cli: Call) -> None:
    answer = cli("logs", "mlp0", "--follow", "--stream", "stdout")
    assert answer.out.splitlines() == [f"line {i}" for i in range(5)]
    assert "completed" in answer.err
    lines = cli("logs", "mlp0", "-f", "--json").out.splitlines()
    assert [json.loads(line)["line"] for line in lines[:2]] == ["line 0", "line 1"]
    assert len(table(cli("logs", "mlp0", "-f", "--csv").out)) == 6


def test_artifacts(cli: Call, store: Store) -> None:
    everything = rows(cli("artifacts", "--json").out)
    assert [r["version"] for r in everything] == [1, 2, 3]
    assert everything[2]["aliases"] == ["best", "latest"]
    assert rows(cli("artifacts", "digits", "--json").out) == everything
    [one] = rows(cli("artifacts", "mlp1", "--json").out)
    assert one["version"] == 2
    [named] = rows(cli("artifacts", "digits/note:v1", "--json").out)
    assert named["run_id"] == mlrun.get_run("mlp0", store=store).id
    assert rows(cli("artifacts", "--type", "model", "--json").out) == []
    assert rows(cli("artifacts", "--keys", "note,other", "--json").out) == everything
    assert cli("artifacts", "nobody").code == 3


def test_downloading_artifacts(cli: Call, tmp_path: Any) -> None:
    answer = cli("artifacts", "digits", "--download", tmp_path / "new", "--json")
    paths = [r["path"] for r in rows(answer.out)]
    assert sorted(Path(p).read_text() for p in paths) == ["text 0", "text 1", "text 2"]
    again = cli("artifacts", "digits", "--download", tmp_path / "new")
    assert again.code == 0
    assert "there already" in again.err
    assert len(list((tmp_path / "new").iterdir())) == 3
    assert cli("artifacts", "--type", "model", "--download", tmp_path / "none").code == 3
