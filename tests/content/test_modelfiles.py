from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from mlrun.content import catalog, modelfiles
from mlrun.errors import UntrustedPickle


def fitted() -> Any:
    # imported here: it takes a second, in every process that collects tests
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(
        [[0.0], [1.0], [2.0]], [0, 1, 1]
    )


def test_a_scikit_learn_model_comes_back(run: Any) -> None:
    item = catalog.log_model(
        run,
        "clf",
        body=fitted(),
        framework="sklearn",
        metrics={"accuracy": 0.9},
        params={"C": 1},
        aliases=["best"],
    )
    assert item.type == "model"
    assert item.meta["framework"] == "sklearn"
    assert item.meta["class"] == "sklearn.pipeline.Pipeline"
    assert (item.meta["metrics"], item.meta["params"]) == ({"accuracy": 0.9}, {"C": 1})
    assert item.meta["python"].count(".") == 2
    assert {"scikit-learn", "numpy"} <= set(item.meta["packages"])
    assert list(item.load(trust=True).predict([[5.0]])) == [1]


def test_a_pickle_is_refused_without_trust(run: Any, tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    item = catalog.log_artifact(run, "bomb", body=pickle.dumps(Bomb()), type="model")
    assert isinstance(item.load(), bytes)  # bytes are bytes
    (tmp_path / "bomb.pkl").write_bytes(item.get())
    for name in ("bomb.pkl", "bomb.joblib"):
        (tmp_path / name).write_bytes(item.get())
        with pytest.raises(UntrustedPickle, match="trust=True"):
            catalog.log_model(run, "bomb", local_path=tmp_path / name).load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("compress", [0, 3])
def test_joblib_files(run: Any, tmp_path: Any, compress: int) -> None:
    import joblib

    joblib.dump(fitted(), tmp_path / "m.joblib", compress=compress)
    item = catalog.log_model(run, str(tmp_path / "m.joblib"))
    assert (item.key, item.type) == ("m.joblib", "model")
    assert list(item.load(trust=True).predict([[5.0]])) == [1]


def test_bytes_files_and_folders_stay_as_they_are(run: Any, tmp_path: Any) -> None:
    assert catalog.log_model(run, "m", body=b"weights").load() == b"weights"
    (tmp_path / "m.safetensors").write_bytes(b"st")
    item = catalog.log_model(run, "m", body=tmp_path / "m.safetensors", framework="torch")
    assert (item.meta["framework"], item.get()) == ("torch", b"st")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "config.json").write_text("{}")
    folder = catalog.log_model(run, "m", body=tmp_path / "saved")
    assert folder.type == "model"
    assert (folder.path() / "config.json").read_text() == "{}"


def test_a_class_of_main_is_loaded_in_another_process(tmp_path: Any) -> None:
    code = """
import pickle, sys
from mlrun.content import modelfiles
class Model:
    def predict(self): return 42
body = modelfiles.pickled(Model())
assert body.meta["pickler"] == "cloudpickle", body.meta
open(sys.argv[1], "wb").write(body.source)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], check=True)
    assert pickle.loads((tmp_path / "m").read_bytes()).predict() == 42


def test_what_cannot_be_pickled_says_so() -> None:
    import threading

    with pytest.raises(TypeError, match="cannot be pickled"):
        modelfiles.encode(threading.Lock())


class Booster:
    """Saves itself as the real ones do: by a path whose suffix matters."""

    __module__ = "xgboost.core"

    def save_model(self, path: str) -> None:
        with open(path, "w") as file:
            file.write(path.rpartition("/")[2])


def test_frameworks_save_by_their_own_saver() -> None:
    body = modelfiles.encode(Booster())
    assert (body.format, body.name, body.source) == ("xgboost", "model.ubj", b"model.ubj")
    assert body.meta["class"] == "xgboost.core.Booster"


def test_metadata_never_names_what_is_called(run: Any, tmp_path: Any) -> None:
    assert modelfiles._own("os.system", "xgboost") == ""
    assert modelfiles._own("xgboost.os", "xgboost") == ""
    assert modelfiles._own("xgboost.sklearn.XGBClassifier", "xgboost") == "XGBClassifier"
