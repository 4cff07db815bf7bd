"""Cron lines, as crontab has them: APScheduler counts weekdays from Monday and asks for day and weekday both."""

from __future__ import annotations

from typing import Any

from mlrun.errors import ConfigError, MissingExtra

__all__ = ["check_cron", "plain_cron"]

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMED = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * sun",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip


def check_cron(cron: str, timezone: str = "UTC") -> Any:
    """Return the trigger of a cron line: `minute hour day month weekday`, or `@daily` and the like.

    Where both day and weekday are restricted, either will do, as in crontab.

    Raises:
        ConfigError: it is no cron line, or there is no such timezone.
        MissingExtra: APScheduler is not installed.
    """
    try:
        from apscheduler.triggers.combining import (  # type: ignore[import-untyped,unused-ignore]
            OrTrigger,
        )
        from apscheduler.triggers.cron import (  # type: ignore[import-untyped,unused-ignore]
            CronTrigger,
        )
    except ModuleNotFoundError as error:
        raise MissingExtra.of("apscheduler", "schedule") from error
    if not isinstance(cron, str):
        raise ConfigError(f"a schedule is a cron line such as '0 6 * * mon-fri', not {cron!r}")
    zone = timezone or "UTC"
    try:
        line = plain_cron(cron)
        minute, hour, day, month, weekday = line.split()
        if day == "*" or weekday == "*":
            return CronTrigger.from_crontab(line, timezone=zone)
        either = (f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}")
        return OrTrigger([CronTrigger.from_crontab(one, timezone=zone) for one in either])
    except Exception as error:  # noqa: BLE001  the parser's own kinds, and the timezone's
        raise ConfigError(
            f"cannot read the schedule {cron!r} ({timezone}): {error}; "
            "say minute hour day month weekday, such as '0 6 * * mon-fri'"
        ) from None


def plain_cron(cron: str) -> str:
    """Return a cron line of five fields, its weekdays as a list of names: everybody reads those alike.

    Raises:
        ValueError: it has not five fields, or a weekday is none.

    Example:
        >>> plain_cron("0 6 * * 5-7"), plain_cron("0 6 * * */2")
        ('0 6 * * fri,sat,sun', '0 6 * * sun,tue,thu,sat')
    """
    parts = _NAMED.get(cron.strip().lower(), cron).split()
    if len(parts) != 5:
        raise ValueError(f"it has {len(parts)} fields, not five")
    if parts[4] != "*":
        found = [day for part in parts[4].lower().split(",") for day in _days(part)]
        parts[4] = ",".join(dict.fromkeys(found))
    return " ".join(parts)


def _days(part: str) -> list[str]:
    base, slash, step = part.partition("/")
    first, dash, last = base.partition("-")
    begin, end = (0, 6) if base == "*" else (_day(first), _day(last) if dash else _day(first))
    if slash and not dash and base != "*":
        end = 6
    if end < begin:
        end += 7
    return [_DAYS[day % 7] for day in range(begin, end + 1, int(step) if slash else 1)]


def _day(word: str) -> int:
    if word in _DAYS:
        return _DAYS.index(word)
    number = int(word)
    if not 0 <= number <= 7:
        raise ValueError(f"there is no weekday {number}")
    return number
