from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlrun.errors import ConfigError
from mlrun.executors.kube_options import KubeOptions

if TYPE_CHECKING:
    from pathlib import Path


def test_arguments_go_before_the_environment_and_that_before_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLRUN_KUBE_TTL", "7")
    monkeypatch.setenv("MLRUN_KUBE_IMAGE", "a:1")
    monkeypatch.setenv("MLRUN_KUBE_AUTH", "no")
    options = KubeOptions.read(image="b:2")
    assert (options.ttl, options.image, options.auth, options.retries) == (7, "b:2", False, 0)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'namespace'"):
        KubeOptions.read(namspace="x")


def test_an_unknown_submission_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'HTTPMode'.*K8sJobMode, HTTPMode"):
        KubeOptions.read(submission="HttpMode")


@pytest.mark.parametrize(
    "more",
    [{"suspend": True}, {"retries": 1}, {"submission": "SidecarMode"}, {"cluster_spec": "x"}],
)
def test_a_cluster_that_is_there_excludes_what_needs_a_new_one(more: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="needs a cluster of the job's own"):
        KubeOptions.read(cluster="there", **more)


@pytest.mark.parametrize(
    ("name", "value"), [("ttl", -1), ("ttl", "soon"), ("auth", "perhaps"), ("retries", -2)]
)
def test_values_without_meaning_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError):
        KubeOptions.read(**{name: value})


def test_a_cluster_spec_must_be_a_ray_cluster(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("kind: Pod\n")
    with pytest.raises(ConfigError, match="holds no RayCluster"):
        KubeOptions.read(cluster_spec=str(tmp_path / "x.yaml")).base_spec()
    with pytest.raises(ConfigError, match=r"y\.yaml"):
        KubeOptions.read(cluster_spec=str(tmp_path / "y.yaml")).base_spec()
