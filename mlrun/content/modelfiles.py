"""Models as artifacts: each framework's own file where there is one, a marked pickle where there is none.

| framework | stored as | loading needs trust |
|---|---|---|
| torch | `torch.save` of the state dict | no (weights only) |
| xgboost, lightgbm, catboost | their `save_model` file | no |
| keras | its `.keras` archive | no (safe mode) |
| onnx | the serialized model | no |
| scikit-learn | skops when it is installed, else pickle | skops: no; pickle: yes |
| anything else | pickle, protocol 5 (cloudpickle for what lives in `__main__`) | yes |
"""

from __future__ import annotations

import io
import pickle
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.bodies import Body
from mlrun.errors import UntrustedPickle

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMATS", "encode", "framework_of", "load", "pickled"]

FORMATS = ("pickle", "joblib", "torch", "skops", "xgboost", "lightgbm", "catboost", "keras", "onnx")
_FRAMEWORKS = ("sklearn", "torch", "xgboost", "lightgbm", "catboost", "keras", "tensorflow", "onnx")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
_NUMERIC = ("numpy", "scipy")


def framework_of(model: Any) -> str:
    """Return the framework that a model's class, or a class it derives from, belongs to; "" if none is known."""
    for kind in type(model).__mro__:
        home = kind.__module__.partition(".")[0]
        if home in _FRAMEWORKS:
            return "keras" if home == "tensorflow" else home
    return ""


def encode(model: Any, framework: str | None = None) -> Body:
    """Write a model into its framework's file.

    Args:
        model: the object.
        framework: which saver to use; told by the class when left out.

    Raises:
        TypeError: it cannot be saved in any way; the message says why.
    """
    name = (framework or framework_of(model)).lower()
    name = {"scikit-learn": "sklearn", "pytorch": "torch", "tensorflow": "keras"}.get(name, name)
    savers: dict[str, Callable[[Any], Body]] = {
        "sklearn": _save_sklearn,
        "torch": _save_torch,
        "xgboost": _save_xgboost,
        "lightgbm": _save_lightgbm,
        "catboost": _save_catboost,
        "keras": _save_keras,
        "onnx": _save_onnx,
    }
    # a framework named for an object of another (a pipeline, a wrapper) falls back to pickle
    saver = savers.get(name) if framework_of(model) in {name, ""} else None
    body = (saver or pickled)(model)
    return Body(
        body.source, body.format, "model", {**describe(model, name), **body.meta}, body.name
    )


def describe(model: Any, framework: str) -> dict[str, Any]:
    """Return class, Python version and the versions of the packages that the model needs."""
    kind = type(model)
    homes = {k.__module__.partition(".")[0] for k in kind.__mro__} - {
        "builtins",
        "__main__",
        "abc",
        "typing",
    }
    versions = {}
    for home in sorted(homes | {framework, *(n for n in _NUMERIC if n in sys.modules)}):
        if home in sys.stdlib_module_names:
            continue
        found = version(_DISTRIBUTIONS.get(home, home)) or _own_version(home)
        if found:
            versions[_DISTRIBUTIONS.get(home, home)] = found
    return {
        "framework": framework,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "python": platform.python_version(),
        "packages": versions,
    }


def version(distribution: str) -> str:
    """Return the installed version of a distribution, or an empty string."""
    from importlib.metadata import PackageNotFoundError, version as installed

    try:
        return installed(distribution) if distribution else ""
    except PackageNotFoundError:
        return ""


def _own_version(module: str) -> str:
    # distributions of other names: xgboost-cpu, lightgbm-gpu, …
    found = getattr(sys.modules.get(module), "__version__", "")
    return found if isinstance(found, str) else ""


def pickled(value: Any) -> Body:
    """Pickle any object; it is loaded only with `trust=True`.

    Raises:
        TypeError: it cannot be pickled.
    """
    home = type(value).__module__ if not callable(value) else getattr(value, "__module__", "")
    if home != "__main__":
        try:
            return Body(pickle.dumps(value, protocol=5), "pickle", meta={"pickler": "pickle"})
        except Exception as error:  # noqa: BLE001 - any __reduce__ may raise anything: cloudpickle knows more
            reason = error
    else:
        reason = TypeError("its class lives in __main__, where no other process can import it")
    try:
        import cloudpickle  # type: ignore[import-not-found,import-untyped,unused-ignore]

        data = cloudpickle.dumps(value, protocol=5)
    except ImportError:
        if home == "__main__":
            return _plain_pickle(value)
        raise TypeError(f"{type(value).__name__} cannot be pickled: {reason}") from reason
    except Exception as error:
        raise TypeError(f"{type(value).__name__} cannot be pickled: {error}") from error
    return Body(data, "pickle", meta={"pickler": "cloudpickle"})


def load(path: Path, meta: dict[str, Any], *, trust: bool) -> Any:
    """Read a model of one of `FORMATS` back.

    Raises:
        UntrustedPickle: it would run code, and `trust` is off.
    """
    kind = str(meta.get("format"))
    if kind in {"pickle", "joblib"}:
        return _load_pickle(path, kind, trust)
    if kind == "torch":
        return _load_torch(path, trust)
    if kind == "skops":
        return _load_skops(path, trust)
    if kind == "onnx":
        import onnx  # type: ignore[import-not-found,unused-ignore]

        return onnx.load_from_string(path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:  # these go by the suffix
        named = Path(folder) / str(meta.get("name") or f"model.{kind}")
        if named.parent != Path(folder) or not named.name:
            named = Path(folder) / f"model.{kind}"
        named.write_bytes(path.read_bytes())
        return _load_named(named, kind, str(meta.get("class", "")), trust)


def refuse(what: str, trust: bool) -> None:
    """Raise `UntrustedPickle` unless trusted."""
    if not trust:
        raise UntrustedPickle(
            f"{what} runs code when it is loaded; if you know who made it, say load(trust=True)"
        )


def _plain_pickle(value: Any) -> Body:
    try:
        return Body(pickle.dumps(value, protocol=5), "pickle", meta={"pickler": "pickle"})
    except Exception as error:
        raise TypeError(f"{type(value).__name__} cannot be pickled: {error}") from error


def _save_sklearn(model: Any) -> Body:
    try:
        import skops.io  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return pickled(model)
    try:
        return Body(skops.io.dumps(model), "skops", name="model.skops")
    except Exception:  # noqa: BLE001 - skops does not know every estimator: pickle does
        return pickled(model)


def _save_torch(model: Any) -> Body:
    import torch  # type: ignore[import-not-found,unused-ignore]

    state = model.state_dict() if hasattr(model, "state_dict") else model
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return Body(buffer.getvalue(), "torch", name="model.pt")


def _save_xgboost(model: Any) -> Body:
    return _by_path(model.save_model, "xgboost", "model.ubj")


def _save_lightgbm(model: Any) -> Body:
    booster = getattr(model, "booster_", model)
    return _by_path(booster.save_model, "lightgbm", "model.txt")


def _save_catboost(model: Any) -> Body:
    return _by_path(model.save_model, "catboost", "model.cbm")


def _save_keras(model: Any) -> Body:
    return _by_path(model.save, "keras", "model.keras")


def _save_onnx(model: Any) -> Body:
    return Body(model.SerializeToString(), "onnx", name="model.onnx")


def _by_path(save: Callable[[str], Any], format: str, name: str) -> Body:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(str(path))
        return Body(path.read_bytes(), format, name=name)


def _load_pickle(path: Path, kind: str, trust: bool) -> Any:
    refuse(f"a {kind} file", trust)
    with path.open("rb") as file:
        magic = file.read(2)
        file.seek(0)
        if kind == "pickle" and magic[:1] == b"\x80":
            return pickle.load(file)
        try:
            import joblib  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            return pickle.load(file)
        return joblib.load(file)


def _load_torch(path: Path, trust: bool) -> Any:
    import torch

    # before 2.6 even weights_only could be made to run code
    safe = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 6)
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    if not safe:
        refuse("a torch file (with torch before 2.6)", trust)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UntrustedPickle(
            "the torch file holds more than weights: say load(trust=True)"
        ) from error


def _load_skops(path: Path, trust: bool) -> Any:
    import skops.io

    unknown = skops.io.get_untrusted_types(file=path)
    if unknown and not trust:
        raise UntrustedPickle(
            f"the model holds types that skops does not know: {', '.join(unknown[:5])}"
        )
    return skops.io.load(path, trusted=unknown)


def _load_named(path: Path, kind: str, class_name: str, trust: bool) -> Any:
    if kind == "lightgbm":
        import lightgbm  # type: ignore[import-not-found,unused-ignore]

        return lightgbm.Booster(model_file=str(path))
    if kind == "keras":
        import keras  # type: ignore[import-not-found,unused-ignore]

        return keras.models.load_model(path, safe_mode=not trust)
    if kind == "catboost":
        import catboost  # type: ignore[import-not-found,unused-ignore]

        model = getattr(catboost, _own(class_name, "catboost"), catboost.CatBoost)()
    else:
        import xgboost  # type: ignore[import-not-found,unused-ignore]

        model = getattr(xgboost, _own(class_name, "xgboost"), xgboost.Booster)()
    model.load_model(str(path))
    return model


def _own(class_name: str, package: str) -> str:
    """Only a class name of that very package is looked up; metadata never names what is called."""
    home, _, name = class_name.rpartition(".")
    return (
        name
        if home.partition(".")[0] == package and name.startswith(("XGB", "CatBoost", "Booster"))
        else ""
    )
