"""What can be said of a function, and how it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlrun
from mlrun.errors import ConfigError
from mlrun.functions.foreign import read_foreign
from mlrun.functions.requirements import read_requirements


def fresh(**fields: Any) -> mlrun.Function:
    return mlrun.new_function("f", "p", handler=lambda x=1: x, **fields)


def test_needs_are_those_of_the_spec() -> None:
    fn = fresh(requirements=["numpy"], replicas=2, time_limit="2m", image="img")
    fn.with_limits(mem="1Gi", cpu="500m", gpus=1).with_resource("fpga", 2)
    fn.set_env("A", 1).set_env_from_secret("TOKEN", "env:MY_TOKEN")
    fn.set_env_from_secret("KEY", "vault", "key").with_node_selection({"zone": "a"})
    needs = fn.needs()
    assert (needs.num_cpus, needs.num_gpus, needs.memory) == (0.5, 1, 2**30)
    assert (needs.resources, needs.requirements, needs.replicas) == ({"fpga": 2}, ("numpy",), 2)
    assert needs.env == {"A": "1"}
    assert needs.secrets == {"TOKEN": "env:MY_TOKEN", "KEY": "k8s:vault/key"}
    assert (needs.time_limit, needs.image, needs.name) == (120.0, "img", "f")
    assert needs.node_selector == {"zone": "a"}


def test_a_secret_is_a_reference_and_is_never_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        fresh().set_env_from_secret("TOKEN", "hunter:2-is-the-secret")
    assert "hunter" not in str(caught.value)
    with pytest.raises(ConfigError, match="reference"):
        fresh(secrets={"TOKEN": "hunter2"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resources": {"cpus": 1}}, "did you mean 'num_cpus'"),
        ({"resources": {"memory": "lots"}}, "no quantity"),
        ({"kind": "jbo"}, "did you mean 'job'"),
        ({"kind": "dask"}, "executor='ray'"),
        ({"kind": "mpijob"}, "replicas"),
        ({"imgae": "x"}, "did you mean 'image'"),
        ({"requirements": ["--index-url x"]}, "option of pip"),
        ({"env": ["A"]}, "a mapping"),
    ],
)
def test_what_has_no_meaning_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fresh(**fields)


def test_a_handler_can_be_given_as_a_callable_when_it_runs() -> None:
    fn = mlrun.new_function("f", "p", image="img")
    run = fn.run(handler=lambda x: x + 1, params={"x": 1})
    assert run.results == {"return": 2}
    assert fn.spec.code == {}


def test_a_copy_changes_alone() -> None:
    fn = fresh(env={"A": "1"})
    fn.copy().set_env("A", "2")
    assert fn.get_env("A") == "1"


def test_env_is_set_while_it_runs() -> None:
    def read() -> str | None:
        import os

        return os.environ.get("MLRUN_TEST_WORD")

    assert mlrun.new_function("f", handler=read, env={"MLRUN_TEST_WORD": "yes"}).run().results == {
        "return": "yes"
    }


def test_retries_are_a_number_or_a_mapping() -> None:
    assert fresh(retry=2).spec.retry == {"count": 2}
    assert fresh(retry={"count": 1, "backoff": "0s"}).spec.retry["backoff"] == "0s"


def test_requirements_come_from_files_too() -> None:
    Path("base.txt").write_text("polars>=2  # frames\n\n# nothing\n")
    Path("requirements.txt").write_text("-r base.txt\nnumpy>=2,\\\n<3\n")
    assert read_requirements("requirements.txt") == ["polars>=2", "numpy>=2, <3"]
    fn = fresh(requirements=["a"], requirements_file="base.txt")
    assert fn.spec.requirements == ["a", "polars>=2"]
    assert fn.with_requirements(["b", "a"]).spec.requirements == ["a", "polars>=2", "b"]
    assert fn.with_requirements("b", overwrite=True).spec.requirements == ["b"]
    with pytest.raises(ConfigError, match=r"none\.txt"):
        read_requirements("none.txt")


def test_templates_are_merged_and_arguments_count_for_more() -> None:
    fn = mlrun.new_function("f", handler=lambda a, b=0: a + b)
    task = mlrun.new_task("night", params={"a": 1, "b": 2}, returns=["sum"])
    run = fn.run(task, params={"b": 5})
    assert (run.name, run.results) == ("night", {"sum": 6})
    other = mlrun.new_task(base=task).with_params(a=9)
    assert (task.params["a"], other.params["a"]) == (1, 9)
    with pytest.raises(ConfigError, match="did you mean 'params'"):
        fn.run({"parms": {}})
    with pytest.raises(ConfigError, match="did you mean"):
        mlrun.new_task(handlr="x")


def test_a_sweep_of_a_template_is_a_sweep() -> None:
    fn = mlrun.new_function("f", handler=lambda x: x * x)
    task = mlrun.new_task().with_hyper_params({"x": [1, 3, 2]}, selector="max.return")
    assert fn.run(task).results["return"] == 9


def test_a_function_of_mlrun_s_own_yaml_is_read() -> None:
    import base64

    document = {
        "kind": "job",
        "metadata": {
            "name": "train",
            "tag": "v1",
            "hash": "abc",
            "project": "old",
            "labels": {"a": "b"},
        },
        "spec": {
            "command": "",
            "args": [],
            "image": "mlrun/mlrun",
            "build": {
                "functionSourceCode": base64.b64encode(
                    b"def train(x):\n    return x + 1\n"
                ).decode(),
                "code_origin": "http://host/trainer.py",
                "requirements": ["numpy"],
                "commands": ["apt-get update"],
            },
            "env": [
                {"name": "A", "value": "1"},
                {"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Mi"},
                "limits": {"nvidia.com/gpu": 1},
            },
            "default_handler": "train",
            "disable_auto_mount": False,
            "entry_points": {"train": {}},
        },
        "verbose": False,
    }
    from mlrun.functions.spec import write_yaml

    Path("function.yaml").write_text(write_yaml(document))
    fn = mlrun.import_function("function.yaml", project="digits", new_name="mine")
    assert (fn.name, fn.project, fn.spec.tag, fn.spec.labels) == (
        "mine",
        "digits",
        "v1",
        {"a": "b"},
    )
    assert fn.spec.resources == {"num_cpus": 0.5, "memory": 1_000_000 * 1.048576, "num_gpus": 1}
    assert (fn.spec.env, fn.spec.secrets) == ({"A": "1"}, {"T": "k8s:s/k"})
    assert fn.spec.code["filename"] == "trainer.py"
    assert fn.spec.more["build"] == {"commands": ["apt-get update"]}
    fn.spec.secrets.clear()
    assert fn.run(params={"x": 1}, local=True).results == {"return": 2}


def test_our_own_yaml_is_not_changed_by_reading_it_as_theirs() -> None:
    spec = {
        "handler": "f",
        "env": {"A": "1"},
        "resources": {"num_cpus": 1},
        "code": {"kind": "module", "name": "m"},
    }
    assert read_foreign(spec) == spec


@pytest.mark.parametrize(
    "text", ["[1]", "a: [", "!!python/object/apply:os.system [ls]", "&a [*a]", "\x00"]
)
def test_yaml_that_is_no_function_is_refused(text: str) -> None:
    Path("bad.yaml").write_text(text)
    with pytest.raises(ConfigError):
        mlrun.import_function("bad.yaml")


def test_yaml_that_means_too_much_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    Path("bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="more than"):
        mlrun.import_function("bomb.yaml")


def test_what_a_function_is_made_of_is_said_when_it_is_not_there() -> None:
    with pytest.raises(mlrun.errors.NotFound, match=r"no file 'nowhere\.py'"):
        mlrun.code_to_function(filename="nowhere.py")
    with pytest.raises(ConfigError, match="not of 7"):
        mlrun.code_to_function(filename=7)
    with pytest.raises(ConfigError, match="no hub"):
        mlrun.import_function("hub://describe")


def test_reprs_hold_no_secret_and_no_code() -> None:
    shown = repr(fresh(env={"API_KEY": "topsecret"}))
    assert shown.startswith("Function('p/f@")
    assert "topsecret" not in shown
