"""The shape of the house: what may stand where, how large, under which name, and what it loads."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDERS = ("mlrun", "storage", "executors", "app")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = sorted(ROOT.glob("requirements*.lock"))

# The names that people call: a module of the same name would replace them on `import mlrun.<name>`.
CALLED = {
    "artifacts", "handler", "init", "log", "logs", "metrics", "params", "projects", "runs", "spans",
    "sql", "workflow",
}  # fmt: skip


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def dotted(path: Path) -> str:
    """Name of a module as users import it: `storage/delta.py` is `mlrun.storage.delta`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "mlrun" else ["mlrun", *parts])


def tree() -> list[Path]:
    """Every file that is tracked, or would be by `git add .`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def python(code: str, *flags: str, **env: str) -> str:
    """Run `code` in a fresh interpreter that treats warnings as errors; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", code],
        env={"PATH": "", "MLRUN_QUIET": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_FACE = """
import importlib, json, mlrun
for name in {modules!r}:
    importlib.import_module(name)
face = {{n: getattr(mlrun, n) for n in mlrun.__all__}}
print(json.dumps({{n: [type(v).__name__, getattr(v, "__module__", ""), getattr(v, "__qualname__", "")]
                  for n, v in face.items()}}))
"""


# -- size and names -----------------------------------------------------------------------------


def test_packages_are_those_on_disk() -> None:
    on_disk = {dotted(path.parent / "__init__.py") for path in sources()}
    assert sorted(on_disk) == PYPROJECT["tool"]["setuptools"]["packages"]
    bare = {p.parent for p in sources()} - {p.parent for p in sources() if p.name == "__init__.py"}
    assert not bare, "a folder of modules without __init__.py is left out of the wheel"


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {dotted(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement behind the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_no_function_is_longer_than_40_lines() -> None:
    long = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > 40:
                long[f"{dotted(path)}.{node.name}"] = body_lines(node)
    assert long == {}


def test_no_module_bears_the_name_of_a_public_function() -> None:
    face = json.loads(python(_FACE.format(modules=[])))
    public = CALLED | {name for name, (kind, *_) in face.items() if kind != "module"}
    modules = {p.stem if p.is_file() else p.name for p in (ROOT / "mlrun").iterdir()}
    wings = {"storage", "executors", "app"}
    assert (modules | wings) & public == set()


def test_no_module_bears_the_name_of_a_library() -> None:
    ours = {"__init__", "mlrun", *FOLDERS}
    libraries = set(packages_distributions()) | {"ray", "fastapi", "streamlit", "kubernetes"}
    assert {dotted(p) for p in sources() if p.stem in libraries - ours} == set()


def test_vague_names_stay_out() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|misc|common)$")
    assert {dotted(p) for p in sources() if vague.search(p.stem)} == set()
    classes = {
        f"{dotted(path)}.{node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Helper|Base|Util)s?$", node.name)
    }
    assert classes == set()


# -- the face -----------------------------------------------------------------------------------


def test_public_names_are_sorted_and_there() -> None:
    names = json.loads(python("import json, mlrun; print(json.dumps(mlrun.__all__))"))
    order = sorted(set(names), key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert names == order, "constants, then classes, then the rest"
    assert {"init", "log", "runs", "metrics", "sql"} <= set(names)


def test_public_names_stay_what_they_are_when_every_module_is_loaded() -> None:
    modules = [dotted(p) for p in sources() if p.stem != "__main__"]
    alone = json.loads(python(_FACE.format(modules=[])))
    among_all = json.loads(python(_FACE.format(modules=modules)))
    assert among_all == alone
    assert {name for name, (kind, *_) in alone.items() if kind == "module"} <= {"errors"}


_LIGHT = """
import sys, mlrun
run = mlrun.init(project="light", name="start")
run.log({"loss": 0.5, "acc": 0.1})
mlrun.log({"loss": 0.4}, step=7)
print("\\n".join(sorted({name.partition(".")[0] for name in list(sys.modules)})))
run.finish()
"""
_HEAVY = {
    "adbc_driver_manager", "adbc_driver_sqlite", "click", "deltalake", "matplotlib", "numpy",
    "obstore", "pandas", "polars", "psutil", "pyarrow", "rich", "sqlglot", "tsdownsample",
}  # fmt: skip


@pytest.mark.parametrize(
    ("background", "allowed"),
    [("0", set()), ("1", {"psutil"})],  # the sampler's own thread may load what samples
    ids=["alone", "with the background"],
)
def test_import_init_and_log_load_no_heavy_library(
    tmp_path: Path, background: str, allowed: set[str]
) -> None:
    loaded = python(
        _LIGHT,
        MLRUN_DBPATH=str(tmp_path / "store"),
        MLRUN_SYSTEM_METRICS=background,
        MLRUN_CONSOLE=background,
        PATH="/usr/bin:/bin",
    )
    assert set(loaded.split()) & _HEAVY <= allowed


def test_the_taste_in_the_readme_runs(tmp_path: Path) -> None:
    code, _ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    shown = "print(best['run_id'].len(), curve['value'].to_list()[0], peaks['peak'].to_list())"
    told = python(code + shown, MLRUN_DBPATH=str(tmp_path / "store"), PATH="/usr/bin:/bin")
    assert told.split() == ["1", "1.0", "[1.0]"]


def test_the_functions_of_the_readme_run(tmp_path: Path) -> None:
    _, code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    trainer = tmp_path / "trainer.py"
    trainer.write_text(
        "def train(context, lr, depth=1):\n"
        "    context.log_result('accuracy', 1 - lr / depth)\n"
        "    return {'weights': [lr]}\n"
    )
    code = f"import os, mlrun\nos.chdir({str(tmp_path)!r})\n{code}print(sweep.results['best_iteration'])"
    told = python(code, MLRUN_DBPATH=str(tmp_path / "store"), PATH="/usr/bin:/bin")
    assert told.split()[-1] == "4"


# -- the tree -----------------------------------------------------------------------------------

# In two halves, so that this file does not hold what it looks for.
_HALVES = [
    ("/wo", "rk/"), ("/ro", "ot/"), ("py", "pi.org"), ("pythonho", "sted.org"),
    ("ana", "conda.org"), ("find-", "links ="), ("uv", ".lock"), ("team", ".md"),
    ("interfaces", ".md"), ("co-authored", "-by"), ("generated", " with"),
    ("issue ", "2"), ("part 1 ", "of"),
]  # fmt: skip
_FORBIDDEN = re.compile(
    "|".join([re.escape(a + b) for a, b in _HALVES] + [r"\bcla" + "ude", "(?-i:/Us" + "ers/)"]),
    re.IGNORECASE,
)
# House rules for code that ships: nothing half done, nothing that runs a stranger's text.
_UNSHIPPED = re.compile(
    r"\bTO"
    + r"DO\b|\bFIX"
    + r"ME\b|\bfor n"
    + r"ow\b|raise NotImpl"
    + r"emented|(?<![\w.])ev"
    + r"al\("
)


def test_nothing_forbidden_is_in_the_tree() -> None:
    found = []
    shipped = set(sources())
    for path in tree():
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            hit = _FORBIDDEN.search(line) or (path in shipped and _UNSHIPPED.search(line))
            if hit:
                found.append(f"{path.relative_to(ROOT)}:{number}: {hit.group()}")
    names = [str(path.relative_to(ROOT)) for path in tree()]
    found += [name for name in names if _FORBIDDEN.search("/" + name)]
    assert found == []


def test_no_large_or_made_file_is_in_the_tree() -> None:
    assert [p.name for p in tree() if p.stat().st_size > 1_000_000] == []
    made = {".pyc", ".so", ".whl", ".gz", ".db", ".parquet", ".seg"}
    assert [p.name for p in tree() if p.suffix in made] == []


# -- locks and manifests ------------------------------------------------------------------------


def pins(lock: Path) -> dict[str, str]:
    """Name -> version, after checking that the lock holds pins with hashes and nothing else."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    pinned: dict[str, str] = {}
    for line in filter(None, text.splitlines()):
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        assert hashes, f"{lock.name}: no hash on {line[:60]!r}"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes)
        parsed = Requirement(requirement)
        assert parsed.url is None
        (only,) = parsed.specifier
        assert only.operator == "=="
        pinned[canonicalize_name(parsed.name)] = only.version
    return pinned


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_lock_has_hashes_and_names_no_host(lock: Path) -> None:
    assert len(pins(lock)) >= len(PYPROJECT["project"]["dependencies"])
    foreign = re.compile(r"://|/|^\s*-(?!-hash)|^#|\bfile:", re.MULTILINE)
    assert foreign.findall(lock.read_text(encoding="utf-8")) == []


def test_locks_agree_with_one_another_and_with_pyproject() -> None:
    development = pins(ROOT / "requirements-dev.lock")
    for lock in LOCKS:
        assert pins(lock).items() <= development.items(), f"`make lock`: {lock.name} is apart"
    runtime = pins(ROOT / "requirements.lock")
    for text in PYPROJECT["project"]["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(runtime[canonicalize_name(wanted.name)]), text


def test_ray_cluster_runs_the_ray_that_the_extra_asks_for() -> None:
    manifest = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text(encoding="utf-8"))["spec"]
    (ray,) = [Requirement(r) for r in PYPROJECT["project"]["optional-dependencies"]["ray"]]
    assert ray.specifier.contains(manifest["rayVersion"])
    groups = [manifest["headGroupSpec"], *manifest["workerGroupSpecs"]]
    images = [c["image"] for g in groups for c in g["template"]["spec"]["containers"]]
    assert all(image.partition(":")[2].startswith(manifest["rayVersion"]) for image in images)
    assert manifest["authOptions"] == {"mode": "token"}
