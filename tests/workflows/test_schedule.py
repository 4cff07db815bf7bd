from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from mlrun.errors import ConfigError, NotFound
from mlrun.gatewaystore import GatewayStore
from mlrun.store import open_store
from mlrun.testing.gatewaythread import GatewayThread
from mlrun.workflows.cron import check_cron
from mlrun.workflows.schedule import (
    Schedule,
    delete_schedule,
    enable_schedule,
    get_schedule,
    list_schedules,
    note_fired,
    put_schedule,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.store import Store

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.mark.parametrize(
    ("cron", "wanted"),
    [
        ("*/5 * * * *", "2026-11-21 12:00"),
        ("30 6 * * *", "2026-11-22 06:30"),
        ("0 0 * * 0", "2026-11-22 00:00"),
        ("0 0 * * 7", "2026-11-22 00:00"),
        ("0 0 * * 1-5", "2026-11-23 00:00"),
        ("0 0 * * sun-tue", "2026-11-22 00:00"),
        ("0 0 * * 5-7", "2026-11-22 00:00"),
        ("0 0 1 * *", "2026-12-01 00:00"),
    ],
)
def test_cron_lines_mean_what_crontab_says(cron: str, wanted: str) -> None:
    found = check_cron(cron).get_next_fire_time(None, NOW)
    assert found.strftime("%Y-%m-%d %H:%M") == wanted


@pytest.mark.parametrize("cron", ["", "* * *", "61 * * * *", "* * * * someday", None, "@reboot"])
def test_what_is_no_cron_line_is_told(cron: str) -> None:
    with pytest.raises(ConfigError, match="schedule"):
        check_cron(cron)
    with pytest.raises(ConfigError, match="Mars"):
        check_cron("0 0 * * *", "Mars/Olympus")


def test_a_schedule_is_stored_replaced_listed_and_deleted(store: Store) -> None:
    target = {"kind": "function", "spec": {}, "options": {"params": {"x": 1}}}
    put_schedule(store, Schedule("p", "nightly", "0 3 * * *", target))
    put_schedule(store, Schedule("p", "nightly", "0 4 * * *", target, timezone="Europe/Berlin"))
    frame = list_schedules(store, "p")
    assert frame.select("name", "cron", "kind", "enabled").rows() == [
        ("nightly", "0 4 * * *", "function", True)
    ]
    assert frame["next_at"][0] is not None
    assert get_schedule(store, "p", "nightly").target == target
    delete_schedule(store, "p", "nightly")
    assert list_schedules(store).is_empty()


def test_a_schedule_is_disabled_and_enabled_and_stays_what_it_was(store: Store) -> None:
    before = put_schedule(store, Schedule("p", "nightly", "0 3 * * *", {"kind": "function"}))
    note_fired(store, before, last_state="completed")
    assert not enable_schedule(store, "p", "nightly", enabled=False).enabled
    assert list_schedules(store)["next_at"].to_list() == [None]
    after = enable_schedule(store, "p", "nightly")
    assert (after, after.last_state) == (before, "completed")
    with pytest.raises(NotFound):
        enable_schedule(store, "p", "nightl")


def test_schedules_are_read_and_changed_over_a_gateway(store: Store) -> None:
    before = put_schedule(store, Schedule("p", "nightly", "0 3 * * *", {"kind": "function"}))
    note_fired(store, before, fired_at=1_000_000)
    with (
        GatewayThread(store, "token") as gateway,
        closing(GatewayStore(gateway.url, key="token")) as away,
    ):
        assert list_schedules(away).equals(list_schedules(store))
        assert not enable_schedule(away, "p", "nightly", enabled=False).enabled
    assert get_schedule(store, "p", "nightly").since == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert not get_schedule(store, "p", "nightly").enabled


def test_a_schedule_that_is_not_there_is_told_with_the_nearest_name(store: Store) -> None:
    put_schedule(store, Schedule("p", "nightly", "0 3 * * *", {"kind": "function"}))
    with pytest.raises(NotFound, match="did you mean 'nightly'"):
        get_schedule(store, "p", "nigthly")


def test_a_target_without_a_json_form_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        put_schedule(store, Schedule("p", "n", "0 3 * * *", {"options": {"inputs": object()}}))
    assert list_schedules(store).is_empty()


@pytest.mark.parametrize(
    ("cron", "wanted"),
    [
        ("0 0 * * */2", "2026-11-22 00:00"),
        ("0 0 * * 1-5/2", "2026-11-23 00:00"),
        ("0 0 * * 0-6/3", "2026-11-22 00:00"),
        ("0 0 * * Sat", "2026-11-28 00:00"),
        ("0 0 1 * 1", "2026-11-23 00:00"),  # the first, and every Monday
        ("@daily", "2026-11-22 00:00"),
    ],
)
def test_steps_names_and_both_days_mean_what_crontab_says(cron: str, wanted: str) -> None:
    found = check_cron(cron).get_next_fire_time(None, NOW)
    assert found.strftime("%Y-%m-%d %H:%M") == wanted


@pytest.mark.parametrize("cron", ["0 0 * * 8", "0 0 * * mon-", "0 0 * * 1/0"])
def test_what_is_no_weekday_is_told(cron: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the schedule"):
        check_cron(cron)


def test_what_people_put_into_a_call_is_kept_as_json(store: Store, tmp_path: Path) -> None:
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.workflows.notification import Notification

    options = {
        "hyper_param_options": HyperParamOptions(selector="max.y"),
        "notifications": [Notification("console", when=("error",))],
        "inputs": {"data": tmp_path / "x.csv"},
    }
    target = {"kind": "function", "spec": {}, "options": options}
    kept = put_schedule(store, Schedule("p", "n", "0 3 * * *", target)).target["options"]
    assert kept["hyper_param_options"]["selector"] == "max.y"
    assert kept["notifications"] == [{"kind": "console", "when": ["error"]}]
    assert kept["inputs"] == {"data": str(tmp_path / "x.csv")}


def test_what_came_of_a_deleted_schedule_does_not_bring_it_back(store: Store) -> None:
    schedule = put_schedule(store, Schedule("p", "n", "0 3 * * *", {"kind": "function"}))
    delete_schedule(store, "p", "n")
    note_fired(store, schedule, last_state="completed")
    assert list_schedules(store).is_empty()


def test_a_place_without_a_clock_is_told(store: Store) -> None:
    with pytest.raises(ConfigError, match="keeps no clock"):
        put_schedule(store, Schedule("p", "n", "0 3 * * *", {"kind": "function"}, place="local"))
