from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from mlrun.errors import ConfigError, ExecutorError
from mlrun.execution.entry import CALL
from mlrun.execution.law import Needs
from mlrun.executors.kube_manifests import ray_cluster, ray_cron_job, ray_job
from mlrun.executors.kube_options import KubeOptions
from mlrun.executors.kube_validate import Schemas, check_rules
from mlrun.testing.kuberunner import through_shell

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT.parent / "shared" / "kuberay"
EVERYTHING = Needs(
    num_cpus=0.5,
    num_gpus=1,
    memory=1 << 33,
    resources={"tpu": 0.5},
    requirements=("polars>=2",),
    env={"MODE": "a $(b) `c` $d"},
    secrets={"TOKEN": "k8s:hub/token", "KEY": "env:KEY", "FILE": "file:/run/key"},
    replicas=3,
    node_selector={"disk": "fast"},
    time_limit=3.2,
    labels={"team one": "ünï"},
    name="Train it",
)


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    if not CRDS.is_dir():
        pytest.skip("the CRDs of KubeRay are not here (../shared/kuberay)")
    return Schemas(CRDS)


def options(**more: Any) -> KubeOptions:
    return KubeOptions.read(**{"image": "registry/mlrun:1", **more})


def head(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("needs", [Needs(), EVERYTHING])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"submission": "SidecarMode"},
        {"submission": "HTTPMode"},
        {"suspend": True, "retries": 2, "service_account": "sa", "pull_secrets": "a, b"},
        {"cluster_spec": str(ROOT / "ray-cluster.yaml")},
        {"auth": False, "run_as": 0, "start_timeout": 0, "ttl": 0},
    ],
)
def test_manifests_are_valid_by_the_strict_schemas(
    schemas: Schemas, needs: Needs, more: dict[str, Any]
) -> None:
    given = options(**more)
    assert schemas.errors(ray_job("job", "Q0FMTA==", given, needs)) == []
    assert schemas.errors(ray_cluster("cluster", given, needs)) == []
    cron = ray_cron_job("cron", "*/5 * * * *", "Q0FMTA==", given, needs, time_zone="Europe/Berlin")
    assert schemas.errors(cron) == []


def test_the_cluster_at_the_top_is_valid(schemas: Schemas) -> None:
    assert schemas.errors(yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())) == []


def test_a_job_on_a_cluster_that_is_there_is_valid(schemas: Schemas) -> None:
    job = ray_job("job", "Q0FMTA==", options(cluster="mlrun"), Needs(env={"A": "b"}))
    assert schemas.errors(job) == []
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": "mlrun"}
    assert "rayClusterSpec" not in job["spec"]
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]["A"] == "b"


@settings(max_examples=40)
@given(
    st.builds(
        Needs,
        num_cpus=st.none() | st.floats(0, 64),
        num_gpus=st.none() | st.floats(0, 8),
        memory=st.none() | st.integers(1, 1 << 40),
        resources=st.dictionaries(st.sampled_from(["a", "tpu"]), st.floats(0.001, 99)),
        replicas=st.integers(1, 100),
        time_limit=st.none() | st.floats(0.1, 1e6),
        labels=st.dictionaries(st.text(min_size=1), st.text(), max_size=3),
        name=st.text(max_size=50),
    )
)
def test_whatever_is_needed_the_manifest_is_valid(schemas: Schemas, needs: Needs) -> None:
    assert schemas.errors(ray_job("job", "Q0FMTA==", options(), needs)) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["foo"], 1, "'foo' was unexpected"),
        (
            ["rayClusterSpec", "headGroupSpec", "rayStartParam"],
            {},
            "'rayStartParam' was unexpected",
        ),
        (["submissionMode"], "Nope", "submissionMode"),
        (["rayClusterSpec", "headGroupSpec", "rayStartParams"], {"num-cpus": 2}, "string"),
        (["backoffLimit"], 1.0, "is a float"),
        (["ttlSecondsAfterFinished"], 2**40, "beyond 32 bits"),
        (["shutdownAfterJobFinishes"], False, "needs shutdownAfterJobFinishes"),
        (["entrypoint"], None, "entrypoint"),
        (["activeDeadlineSeconds"], 0, "must be positive"),
        (["rayClusterSpec", "rayVersion"], "2.40.0", "2.52 or newer"),
    ],
)
def test_what_kuberay_would_drop_or_refuse_is_found_first(
    schemas: Schemas, path: list[str], value: Any, said: str
) -> None:
    job = copy.deepcopy(ray_job("job", "Q0FMTA==", options(), Needs()))
    inner: Any = job["spec"]
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    assert said in "; ".join(schemas.errors(job))
    with pytest.raises(ExecutorError, match="RayJob is not valid"):
        schemas.check(job)


@pytest.mark.parametrize("name", ["Upper", "9", "a_b", "x" * 48, "-a", ""])
def test_a_name_that_kuberay_refuses_is_found_without_schemas(name: str) -> None:
    assert "metadata.name" in check_rules(ray_job(name, "x", options(), Needs()))[0]


def test_a_folder_without_crds_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no CRD in ray\.io_rayjobs\.yaml"):
        Schemas(tmp_path).errors({"kind": "RayJob"})


def test_secrets_are_references_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hush-hush-hush")
    job = ray_job("job", "x", options(), EVERYTHING)
    found = {e["name"]: e for e in head(job)["containers"][0]["env"]}
    assert found["TOKEN"] == {
        "name": "TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}},
    }
    assert "KEY" not in found
    assert "hush" not in json.dumps(job)
    workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert workers["containers"][0]["env"] == head(job)["containers"][0]["env"]


@pytest.mark.parametrize(
    "needs",
    [
        Needs(env={"HF_TOKEN": "hf_abcdef"}),
        Needs(requirements=("git+https://me:pw@host/x.git",)),
        Needs(source="https://me:pw@host/x.zip"),
    ],
)
def test_a_secret_in_clear_is_refused(needs: Needs) -> None:
    with pytest.raises(ExecutorError) as error:
        ray_job("job", "x", options(), needs)
    assert "pw" not in str(error.value).replace("password", "")
    assert "hf_abcdef" not in str(error.value)


def test_a_reference_without_a_key_is_refused() -> None:
    with pytest.raises(ExecutorError, match="'k8s:hub' is not k8s:SECRET/KEY"):
        ray_job("job", "x", options(), Needs(secrets={"T": "k8s:hub"}))


@pytest.mark.parametrize(
    ("needs", "what"),
    [
        (Needs(image="x"), "image"),
        (Needs(node_selector={"a": "b"}), "node_selector"),
        (Needs(secrets={"T": "k8s:a/b"}), "a secret by k8s:"),
    ],
)
def test_a_running_cluster_cannot_be_given_what_pods_are_made_with(needs: Needs, what: str) -> None:
    with pytest.raises(ExecutorError, match=f"{what} cannot be given"):
        ray_job("job", "x", options(cluster="there"), needs)


def test_an_image_must_be_given() -> None:
    with pytest.raises(ExecutorError, match=r"no image is given.*MLRUN_KUBE_IMAGE"):
        ray_job("job", "x", KubeOptions.read(), Needs())


def test_nothing_is_retried_unless_it_is_asked_for() -> None:
    assert ray_job("job", "x", options(), Needs())["spec"]["backoffLimit"] == 0
    assert ray_job("job", "x", options(retries=2), Needs())["spec"]["backoffLimit"] == 2


def test_one_replica_runs_on_the_head_and_more_beside_it() -> None:
    alone = ray_job("job", "x", options(), Needs(num_cpus=2))["spec"]["rayClusterSpec"]
    assert "workerGroupSpecs" not in alone
    assert alone["headGroupSpec"]["resources"] == {"CPU": "2"}
    many = ray_job("job", "x", options(), EVERYTHING)["spec"]["rayClusterSpec"]
    (group,) = many["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (3, 3, 3)
    assert group["resources"] == {"CPU": "1", "GPU": "1", "tpu": "500m"}
    assert many["headGroupSpec"]["resources"] == {"CPU": "0"}


def test_a_cluster_spec_is_taken_over_with_image_and_replicas() -> None:
    given = options(cluster_spec=str(ROOT / "ray-cluster.yaml"))
    spec = ray_job("job", "x", given, Needs(replicas=12))["spec"]["rayClusterSpec"]
    first = spec["workerGroupSpecs"][0]
    assert (first["groupName"], first["replicas"], first["maxReplicas"]) == ("cpu", 12, 12)
    assert first["template"]["spec"]["containers"][0]["image"] == "registry/mlrun:1"
    assert spec["enableInTreeAutoscaling"] is True


def test_what_goes_through_the_submitters_shell_arrives_unchanged() -> None:
    call = "AZaz09+/=="
    job = ray_job("job", call, options(), Needs(requirements=("a>=1",)))
    text = json.dumps(yaml.safe_load(job["spec"]["runtimeEnvYAML"]))
    assert json.loads(through_shell(text))["env_vars"][CALL] == call
    with pytest.raises(ExecutorError, match="a shell would expand them"):
        ray_job("job", call, options(), Needs(requirements=("a@https://x/$(id)",)))
    with pytest.raises(ExecutorError, match="submission='HTTPMode'"):
        ray_job("job", call, options(cluster="c"), Needs(env={"A": "$HOME"}))
    job = ray_job(
        "job", call, options(cluster="c", submission="HTTPMode"), Needs(env={"A": "$HOME"})
    )
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]["A"] == "$HOME"


def test_kubernetes_does_not_expand_the_values_of_variables() -> None:
    found = {
        e["name"]: e.get("value")
        for e in head(ray_job("j", "x", options(), EVERYTHING))["containers"][0]["env"]
    }
    assert found["MODE"] == "a $$(b) `c` $d"
