"""`kuberay` keeps the law of executors, against the test API server; and its jobs reach a real Ray."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

pytest.importorskip("kubernetes")

from mlrun.executors.kuberay import KubeRayExecutor
from mlrun.testing.executors import ExecutorConformance
from mlrun.testing.kubeapi import KubeAPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class TestLaw(ExecutorConformance):
    counts_cores: ClassVar[bool] = False  # a node for the pod may come at any time
    calls_at_once: ClassVar[int] = 3

    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[Callable[[], Any]]:
        with KubeAPI() as server:
            file = str(server.kubeconfig(tmp_path))
            yield lambda: KubeRayExecutor(kubeconfig=file, image="any:1")


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_call_uses_the_ray_cluster_that_its_job_runs_on(ray_session: Any, tmp_path: Path) -> None:
    import ray

    def squares(count: int) -> list[int]:
        import ray

        @ray.remote
        def square(x: int) -> int:
            return x * x

        found: list[int] = ray.get([square.remote(i) for i in range(count)])
        return found

    name = f"mlrun-{secrets.token_hex(4)}"
    with KubeAPI(env={"RAY_ADDRESS": ray.get_runtime_context().gcs_address}) as server:
        executor = KubeRayExecutor(kubeconfig=str(server.kubeconfig(tmp_path)), image="any:1")
        cluster = executor.make_cluster(name)
        executor.close()
        executor = KubeRayExecutor(kubeconfig=str(tmp_path / "kubeconfig"), cluster=cluster)
        assert executor.submit(squares, 4).result(120) == [0, 1, 4, 9]
        executor.close()
