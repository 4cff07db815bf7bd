"""Settings: defaults < `mlrun.toml` < `MLRUN_*` < arguments, frozen once they are read."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mlrun.errors import ConfigError, did_you_mean

__all__ = ["Settings", "settings"]

_MODES = ("online", "offline", "disabled")


@dataclass(frozen=True)
class Settings:
    """Every setting, with its default; the environment variable is the name in capitals behind `MLRUN_`.

    Attributes:
        dbpath: folder of the embedded store, or `http(s)://` of a gateway.
        records_url, series_url, objects_url: override one part of the store.
        project: project of a run that names none.
        run_id: id of the run to write to; implies `resume="allow"`.
        mode: online, offline (never talks to a network) or disabled (nothing is written).
        api_key: key for a gateway; never shown.
        ca_file: certificates (PEM) against which a gateway's is checked; default the system's.
        executor: where functions run.
        strict: a failed artifact or result makes the run `error`.
        quiet: no line on stderr at init.
        finish_timeout: seconds that `finish()` may wait for a gateway.
        spool_max_bytes: bytes of journal that may wait; 0 for no bound (1 GB of disk stays free).
        cache: folder for local copies of remote objects; empty for `mlrun` in the user's cache folder.
        cache_max_bytes: bytes that these copies may take together; what is in use stays.
        max_metric_keys: distinct metric keys of one run; warned at 80 %, refused beyond.
        system_metrics: sample CPU, memory, disk, network and GPU in the background.
        system_interval: seconds between two samples.
        console: capture what the process prints.
        git: record commit and dirty state.
    """

    dbpath: str = ".mlrun"
    records_url: str = ""
    series_url: str = ""
    objects_url: str = ""
    project: str = "default"
    run_id: str = ""
    mode: str = "online"
    api_key: str = ""
    ca_file: str = ""
    executor: str = ""
    strict: bool = False
    quiet: bool = False
    finish_timeout: float = 30.0
    spool_max_bytes: int = 0
    cache: str = ""
    cache_max_bytes: int = 10 << 30
    max_metric_keys: int = 10_000
    system_metrics: bool = True
    system_interval: float = 10.0
    console: bool = True
    git: bool = True

    def __repr__(self) -> str:
        """Show what differs from the defaults, never the key nor the credentials of a URL."""
        from mlrun.redact import redact_url

        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                text = redact_url(value) if isinstance(value, str) else value
                shown.append(f"{f.name}={'***' if f.name == 'api_key' else repr(text)}")
        return f"Settings({', '.join(shown)})"

    def store_folder(self) -> Path:
        """Absolute path of the embedded store; ConfigError when `dbpath` is a gateway."""
        if "://" in self.dbpath:
            raise ConfigError(f"{self.dbpath.split('@')[-1]} is not a folder")
        return Path(self.dbpath).expanduser().absolute()


_KINDS = {f.name: type(f.default) for f in fields(Settings)}
_VARIABLES = {name: f"MLRUN_{name.upper()}" for name in _KINDS}


def settings(**arguments: Any) -> Settings:
    """Return the settings that hold here and now; `arguments` that are None do not count.

    Raises:
        ConfigError: unknown name (with the nearest known one), or a value of the wrong type.
    """
    found = Settings()
    toml = Path("mlrun.toml")
    if toml.is_file():
        try:
            table = tomllib.loads(toml.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"mlrun.toml: {error}") from error
        found = _with(found, table, "mlrun.toml")
    # an empty variable is an unset one: `MLRUN_DBPATH= python train.py` must not make the working folder a store
    env = {n: value for n, v in _VARIABLES.items() if (value := os.environ.get(v))}
    found = _with(found, env, "environment")
    return _with(found, {k: v for k, v in arguments.items() if v is not None}, "arguments")


def _with(base: Settings, table: dict[str, Any], source: str) -> Settings:
    if not table:
        return base
    for name in table:
        if name not in _KINDS:
            raise ConfigError(f"{source}: unknown setting {name!r}{did_you_mean(name, _KINDS)}")
    values = {name: _cast(name, value, _KINDS[name], source) for name, value in table.items()}
    out = replace(base, **values)
    if out.mode not in _MODES:
        raise ConfigError(f"{source}: mode must be one of {', '.join(_MODES)}, not {out.mode!r}")
    return out


def _cast(name: str, value: Any, kind: type, source: str) -> Any:
    if kind is bool and isinstance(value, str):
        word = value.strip().lower()
        if word in {"1", "true", "yes", "on"}:
            return True
        if word in {"0", "false", "no", "off", ""}:
            return False
        raise ConfigError(f"{source}: {name} must be true or false, not {value!r}")
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {name} must be {kind.__name__}, not {value!r}") from error
