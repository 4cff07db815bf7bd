"""A function with replicas: ranked processes that Ray Train starts together, for instance for torch's DDP.

Every rank makes the same call. Rank 0 performs the run itself: its results, artifacts and metrics are the run's. Every
other rank performs a child run of kind `replica` (label `mlrun/rank`), so that the metrics of each rank are kept under
their own names, and no rank waits for another one's store. Where torch is installed, and the function's code may
use it, its process group (gloo, nccl on devices) is ready when the function begins; else the ranks have `RANK`,
`LOCAL_RANK` and `WORLD_SIZE` alone.

When a rank fails all of them are ended, since they wait for each other; the run is in error, with that rank's error.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlrun.errors import ExecutorError, JobError
from mlrun.execution.pickling import dump_call

from .localworker import pack_failure
from .ray_task import RayTask
from .ray_values import SharedValues, pack_value
from .ray_worker import Place, Setup, call, ends_of, here
from .train_needs import may_use_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Crew", "ReplicaTask", "submit_replicas"]

_GONE = 30.0  # seconds for killed processes to disappear
# Ray Train looks after its ranks every two seconds, and keeps one more process to hear of nodes that will be taken
# away, so that checkpoints can be written before: ours are the function's own.
_DEFAULTS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


@dataclass(frozen=True)
class Crew:
    """The ranks of one call.

    Attributes:
        count: how many.
        claim: resources of each, by Ray's names (`CPU`, `GPU`, `memory`, …).
        labels: selector of their nodes.
        environment: their runtime_env.
        setup: what they find.
        torch: whether its process group is made for them.
        function, arguments, shared: the call, as `ray_worker.call` takes it.
    """

    count: int
    claim: dict[str, float]
    labels: dict[str, str]
    environment: dict[str, Any]
    setup: Setup
    function: bytes
    arguments: bytes
    shared: list[Any] = field(default_factory=list)
    torch: bool = False


def submit_replicas(
    id: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    crew: Callable[[bytes, bytes, list[Any]], Crew],
    values: SharedValues,
    time_limit: float | None,
) -> ReplicaTask:
    """Start the ranks of a call.

    Args:
        id: of the job.
        fn: what every rank calls.
        args: its arguments; a first one that is a `Task` is made its own for rank 1 and up.
        crew: makes the crew of the two pickles and the large values.
        values: keeps large arguments.
        time_limit: seconds that it may run.
    """
    import ray

    shared: list[Any] = []

    def share(value: Any, owner: Any) -> int:
        shared.append(values.put(value, owner))
        return len(shared) - 1

    found = crew(dump_call(fn, ()), dump_call(tuple, pack_value(args, share)), shared)
    found = replace(found, torch=may_use_torch(fn, args))
    remote: Any = ray.remote
    box = remote(num_cpus=0, max_restarts=0)(_Box).remote()
    once = {"num_cpus": 0, "max_retries": 0, "num_returns": "streaming"}
    stream = remote(**once)(_lead).remote(found, box)
    return ReplicaTask(id, stream, box, time_limit=time_limit)


class ReplicaTask(RayTask):
    """A call that several ranks make; its state and value are rank 0's, and so is what it printed."""

    def __init__(self, id: str, stream: Any, box: Any, *, time_limit: float | None = None) -> None:
        self._box = box
        super().__init__(id, stream, time_limit=time_limit)

    def place(self) -> Place | None:
        """Return where rank 0 runs; None before it has begun."""
        super().place()
        found: Place | None = self._told("place")
        return found

    def ends(self) -> tuple[int, ...] | None:
        """Return where the output of rank 0 ends."""
        found: tuple[int, ...] | None = self._told("ends")
        return found

    def sweep(self) -> None:
        """End what the ranks still do, and wait until their processes are gone."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote: Any = ray.remote
        for handle, place in self._told("close") or []:
            with suppress(Exception):
                ray.kill(handle)
            there: Any = NodeAffinitySchedulingStrategy(place.node, soft=False)
            with suppress(Exception):  # its node is gone
                ray.get(
                    remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_wait_gone).remote(
                        place.pid
                    )
                )

    def _told(self, what: str) -> Any:
        import ray

        with suppress(ray.exceptions.RayError):
            return ray.get(getattr(self._box, what).remote(), timeout=_GONE)
        return None


class _Box:
    """What the ranks tell: an actor, so that it is known whatever becomes of them."""

    def __init__(self) -> None:
        self._ranks: dict[int, tuple[Any, Place]] = {}
        self._answers: dict[int, tuple[Any, tuple[int, ...]]] = {}
        self._closed = False

    def begin(self, rank: int, handle: Any, place: Place) -> bool:
        """Note that a rank runs; False if it shall not."""
        if not self._closed:
            self._ranks[rank] = (handle, place)
        return not self._closed

    def end(self, rank: int, answer: Any, ends: tuple[int, ...]) -> None:
        """Note how a rank ended."""
        self._answers[rank] = (answer, ends)

    def close(self) -> list[tuple[Any, Place]]:
        """Let no rank begin any more; returns those that did."""
        self._closed = True
        return list(self._ranks.values())

    def place(self) -> Place | None:
        """Return where rank 0 runs."""
        return self._ranks[0][1] if 0 in self._ranks else None

    def ends(self) -> tuple[int, ...] | None:
        """Return where the output of rank 0 ends."""
        return self._answers[0][1] if 0 in self._answers else None

    def answers(self) -> dict[int, Any]:
        """Return the answers that came, in the order in which they came."""
        return {rank: answer for rank, (answer, _) in self._answers.items()}


def _lead(crew: Crew, box: Any) -> Iterator[Any]:
    """Start the ranks, wait for them; yields as `watched_call` does."""
    import ray

    yield here()
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    failure: Exception | None = None
    try:
        _trainer(crew, box).fit()
    except Exception as error:  # noqa: BLE001  the ranks have said why, or died
        failure = error
    answers = ray.get(box.answers.remote())
    yield _answer(answers, crew.count, failure), ()


def _answer(answers: dict[int, Any], count: int, failure: Exception | None) -> Any:
    failed = [(rank, a) for rank, a in answers.items() if a[0] == "e"]
    if failed:
        return failed[0][1]
    for rank, (_, value) in answers.items():
        if rank and _has_failed(value):
            said = f"rank {rank} failed: {value.get('error')}"
            return "e", pack_failure(JobError(said))
    if 0 in answers and (failure is None or _has_failed(answers[0][1])):
        return answers[0]
    missing = sorted(set(range(count)) - set(answers))
    return "l", f"ranks {missing} died: {str(failure).strip().splitlines()[-1:]}"


def _trainer(crew: Crew, box: Any) -> Any:
    from ray import train

    options: Any = train  # its types are those of an older generation
    scaling = options.ScalingConfig(
        num_workers=crew.count,
        use_gpu=bool(crew.claim.get("GPU")),
        resources_per_worker=crew.claim,
        label_selector=crew.labels or None,
    )
    run = options.RunConfig(
        storage_path=os.path.join(tempfile.gettempdir(), "mlrun-train"),
        failure_config=options.FailureConfig(max_failures=0),
        worker_runtime_env=crew.environment or None,
    )
    kind: Any
    if crew.torch:
        from ray.train.torch import TorchTrainer as kind
    else:
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer as kind
    config = {"crew": crew, "box": box}
    return kind(_rank, train_loop_config=config, scaling_config=scaling, run_config=run)


def _rank(config: dict[str, Any]) -> None:
    """Make the call of one rank."""
    import ray
    from ray import train

    crew, box = config["crew"], config["box"]
    context: Any = train.get_context()
    rank, place = context.get_world_rank(), here()
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(context.get_world_size()),
        LOCAL_RANK=str(context.get_local_rank()),
    )
    handle = ray.get_runtime_context().current_actor
    if not ray.get(box.begin.remote(rank, handle, place)):
        raise ExecutorError("the call was cancelled")
    shared = ray.get(crew.shared)
    answer = call(crew.setup, crew.function, _own(crew.arguments, rank), *shared)
    ray.get(box.end.remote(rank, answer, ends_of(place)))
    if answer[0] == "e" or _has_failed(answer[1]):
        raise ExecutorError(f"rank {rank} failed")  # the others would wait for it


def _own(arguments: bytes, rank: int) -> bytes:
    """Return the arguments of a rank: another one than rank 0 performs a run of its own."""
    import pickle

    from mlrun.execution.task import Task
    from mlrun.ids import uuid7

    if rank == 0:
        return arguments
    fn, given = pickle.loads(arguments)
    if not (given and isinstance(given[0], Task)):
        return arguments
    task = given[0]
    own = task.but(
        run_id=uuid7(),
        parent=task.run_id,
        name=f"{task.name}/rank-{rank}",
        kind="replica",
        iteration=None,
        labels={**task.labels, "mlrun/rank": rank},
        returns=[],
        fresh=True,
    )
    return dump_call(fn, (own, *given[1:]))


def _has_failed(value: Any) -> bool:
    """Whether the outcome of a run is anything but `completed`."""
    return (
        isinstance(value, dict)
        and {"run_id", "state"} <= value.keys()
        and value["state"] != "completed"
    )


def _wait_gone(pid: int) -> None:
    end = time.monotonic() + _GONE
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except OSError:
            return
        time.sleep(0.02)
