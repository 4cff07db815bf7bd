"""Write docs/reference/ from the docstrings: `python docs/build_reference.py`.

The pages are committed; a test builds them again and compares. Examples are printed without prompts, because `make
test` runs them where they stand, in the docstrings.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["pages"]

HERE = Path(__file__).parent / "reference"
NOTE = "<!-- fmt: off -->\n\n*Made from the docstrings by `docs/build_reference.py`: change them there.*"
FUNCTIONS = {
    "Track": ("init", "log", "current_run"),
    "Ask": (
        "runs",
        "metrics",
        "params",
        "artifacts",
        "logs",
        "projects",
        "sql",
        "get_run",
        "get_artifact",
        "open_store",
    ),
    "Change": ("delete_runs", "compact"),
    "Define functions": (
        "new_function",
        "code_to_function",
        "import_function",
        "function_to_module",
        "new_task",
        "run_function",
    ),
    "Handlers": ("handler", "get_or_create_ctx"),
    "Workflows": ("workflow", "on_exit"),
    "Tables on executors": ("map_table",),
    "Projects": ("get_or_create_project", "new_project", "load_project", "get_current_project"),
}
MEDIA = ("Image", "Audio", "Video", "Html", "Histogram", "Table")
# what other rooms of the library call on a Run; no user needs it
HOUSE = {
    "Run": {
        "activity",
        "become_inherited",
        "end",
        "failed",
        "record",
        "set_provenance",
        "tell_drops",
        "warn",
    }
}
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Example|Examples|Yields):")


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    import mlrun
    from mlrun import config, errors
    from mlrun.tracking.runconfig import RunConfig

    made = {
        "functions.md": _functions_page(mlrun),
        "run.md": _page("Run", _class(mlrun.Run), _class(RunConfig, "run.config")),
        "runview.md": _page("RunView", _class(mlrun.RunView)),
        "function.md": _page("Function", _class(mlrun.Function)),
        "project.md": _page("Project", _class(mlrun.Project)),
        "options.md": _page(
            "Options",
            _class(mlrun.HyperParamOptions),
            _class(mlrun.Notification),
            _class(mlrun.LogHint),
        ),
        "dataitem.md": _page("DataItem", _class(mlrun.DataItem)),
        "settings.md": _settings_page(config),
        "errors.md": _errors_page(errors),
        "cli.md": _cli_page(),
    }
    return made | {"README.md": _index(made)}


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", NOTE, *parts]).rstrip() + "\n"


def _index(made: dict[str, str]) -> str:
    lines = [
        f"- [{text.splitlines()[0].removeprefix('# ')}]({name})" for name, text in made.items()
    ]
    return _page("Reference", "\n".join(lines))


def _functions_page(mlrun: Any) -> str:
    parts = []
    for title, names in FUNCTIONS.items():
        parts.append(f"## {title}")
        parts += [_function(f"mlrun.{name}", getattr(mlrun, name)) for name in names]
    parts.append("## Wrappers for media\n\nGiven to `run.log()` beside numbers.")
    parts += [_wrapper(f"mlrun.{name}", getattr(mlrun, name)) for name in MEDIA]
    return _page("Functions", *parts)


def _function(name: str, function: Callable[..., Any], level: int = 3) -> str:
    head = f"{'#' * level} `{name.rsplit('.', 1)[-1]}`"
    return f"{head}\n\n```python\n{_signature(name, function)}\n```\n\n{_text(function.__doc__)}"


def _wrapper(name: str, kind: type) -> str:
    given = _signature(name, kind.__init__, drop_self=True).replace(" -> None", "")
    return f"### `{name.rsplit('.', 1)[-1]}`\n\n```python\n{given}\n```\n\n{_text(kind.__doc__)}"


def _class(kind: type, name: str = "") -> str:
    shown = name or kind.__name__
    hidden = HOUSE.get(kind.__name__, set())
    parts = [f"## `{shown}`", _text(kind.__doc__)]
    properties, methods = [], []
    for member, value in _members(kind):
        if member in hidden:
            continue
        if isinstance(value, property):
            properties.append(f"- `{member}`: {_one_line(value.__doc__)}")
        else:
            methods.append(_function(f"{shown}.{member}", value))
    if properties:
        parts += ["### Properties", "\n".join(properties)]
    return "\n\n".join([*parts, *methods])


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Iterate over the public properties and methods as they are written, nearest class first."""
    seen = set()
    for part in kind.__mro__:
        if not part.__module__.startswith("mlrun"):
            continue
        for name, value in vars(part).items():
            documented = isinstance(value, property) or inspect.isfunction(value)
            if name.startswith("_") or name in seen or not documented or not value.__doc__:
                continue
            seen.add(name)
            yield name, value


def _settings_page(config: Any) -> str:
    about = _entries(_section(config.Settings.__doc__, "Attributes"))
    said = {name: text for names, text in about for name in names.split(", ")}
    rows = ["| setting | variable | default | |", "|---|---|---|---|"]
    for name, field in config.Settings.__dataclass_fields__.items():
        shown = f"`{field.default}`" if field.default != "" else ""
        rows.append(f"| `{name}` | `MLRUN_{name.upper()}` | {shown} | {said[name]} |")
    order = (
        "A setting is taken from, later over earlier: its default, `mlrun.toml` in the working folder, the "
        "environment, the arguments of `init()`. Words for true are `1 true yes on`, for false `0 false no off`."
    )
    toml = '```toml\n# mlrun.toml\nproject = "digits"\nsystem_interval = 30.0\nconsole = false\n```'
    call = _function("mlrun.config.settings", config.settings, level=2)
    return _page("Settings", order, "\n".join(rows), toml, call)


def _errors_page(errors: Any) -> str:
    opening, tree, _ = errors.__doc__.partition("```")
    parts = [_text(opening), f"```\n{(tree + _).strip().strip('`').strip()}\n```"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if inspect.isclass(kind):
            bases = ", ".join(f"`{b.__name__}`" for b in kind.__bases__)
            parts.append(f"## `{name}`\n\nA {bases}.\n\n{_text(kind.__doc__)}")
    return _page("Errors", *parts)


def _cli_page() -> str:
    import click

    from mlrun.cli.root import cli

    def shown(command: click.Command, name: str, parent: click.Context | None) -> str:
        made = click.Context(command, parent, name, terminal_width=90, **command.context_settings)
        return f"```text\n{command.get_help(made)}\n```"

    top = click.Context(cli, info_name="mlrun", **cli.context_settings)
    parts = [shown(cli, "mlrun", None)]
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        assert command is not None
        parts.append(f"## `mlrun {name}`\n\n{shown(command, name, top)}")
    return _page("Command line", *parts)


def _signature(name: str, function: Callable[..., Any], *, drop_self: bool = False) -> str:
    """Print a signature as it is written in the source, one argument a line when it is long."""
    made = inspect.signature(function)
    arguments = [
        p.replace(annotation=_bare(p.annotation))
        for p in made.parameters.values()
        if p.name != "self"
    ]
    shown, star = [], False
    for p in arguments:
        if p.kind is p.KEYWORD_ONLY and not star:
            shown.append("*")
        star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        shown.append(_argument(p))
        if p.kind is p.POSITIONAL_ONLY:
            shown.append("/")
    back = "" if made.return_annotation is made.empty else f" -> {_bare(made.return_annotation)}"
    short = f"{name}({', '.join(shown)}){back}"
    if len(short) <= 100:
        return short
    return f"{name}(\n" + "".join(f"    {part},\n" for part in shown) + f"){back}"


def _argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {parameter.annotation}"
    if parameter.default is not parameter.empty:
        text += (" = " if ":" in text else "=") + repr(parameter.default)
    return text


def _bare(annotation: Any) -> Any:
    return (
        annotation
        if isinstance(annotation, str) or not hasattr(annotation, "__name__")
        else annotation.__name__
    )


def _text(docstring: str | None) -> str:
    """Turn a docstring into Markdown: sections become lists, examples lose their prompts."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    parts: list[str] = []
    free: list[str] = []
    at = 0
    while at < len(lines):
        found = SECTION.fullmatch(lines[at])
        if not found:
            free.append(lines[at])
            at += 1
            continue
        end = at + 1
        while end < len(lines) and (not lines[end] or lines[end].startswith(" ")):
            end += 1
        parts.append("\n".join(free).strip())
        free = []
        parts.append(_block(found[1], textwrap.dedent("\n".join(lines[at + 1 : end])).strip()))
        at = end
    parts.append("\n".join(free).strip())
    return "\n\n".join(part for part in parts if part)


def _block(title: str, body: str) -> str:
    if title.startswith("Example"):
        return f"```python\n{_without_prompts(body)}\n```"
    if title in ("Returns", "Yields"):
        return f"**{title}** {_one_line(body)}"
    items = [f"- `{name}`: {text}" for name, text in _entries(body)]
    return "\n".join([f"**{title}**\n", *items])


def _entries(body: str) -> list[tuple[str, str]]:
    """Part `name: text` entries; what is indented belongs to the entry above it."""
    found: list[tuple[str, str]] = []
    for line in body.splitlines():
        head, colon, rest = line.partition(":")
        if line.startswith(" ") or not colon:
            name, text = found.pop() if found else ("", "")
            found.append((name, f"{text} {line.strip()}".strip()))
        else:
            found.append((head.strip(), rest.strip()))
    return found


def _section(docstring: str, title: str) -> str:
    lines = inspect.cleandoc(docstring).splitlines()
    start = lines.index(f"{title}:") + 1
    taken = [line for line in lines[start:] if line.startswith(" ")]
    return textwrap.dedent("\n".join(taken))


def _without_prompts(body: str) -> str:
    out = []
    for line in body.splitlines():
        if line.startswith((">>> ", "... ")):
            out.append(line[4:])
        elif line in (">>>", "..."):
            out.append("")
        else:
            out.append(f"# {line}" if line else "")
    return "\n".join(out)


def _one_line(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split())


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
