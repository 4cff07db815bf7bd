from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("kubernetes")

from mlrun.errors import ConfigError, ExecutorError, JobAborted, JobError, JobLost, NotFound
from mlrun.execution.law import CanReattach, CanSchedule, Needs
from mlrun.executors.kube_client import KubeClient
from mlrun.executors.kube_options import KubeOptions
from mlrun.executors.kube_validate import Schemas
from mlrun.executors.kube_watch import KubeWatch
from mlrun.executors.kuberay import KubeRayExecutor
from mlrun.testing.kubeapi import KubeAPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CRDS = Path(__file__).resolve().parents[3] / "shared" / "kuberay"
WAIT = 60.0  # seconds that something may take on a busy machine

# this file's functions travel by value, and find what they use by themselves


def double(x: Any) -> Any:
    print("doubling", x)
    return x * 2


def sleep(seconds: float = 300.0) -> None:
    import time

    print("asleep", flush=True)
    time.sleep(seconds)


def fail() -> None:
    raise ValueError("no good", 7)


def die() -> None:
    import os

    os._exit(9)


@pytest.fixture
def server() -> Iterator[KubeAPI]:
    with KubeAPI(validate=Schemas(CRDS).errors if CRDS.is_dir() else None) as server:
        yield server


@pytest.fixture
def make(server: KubeAPI, tmp_path: Path) -> Iterator[Callable[..., KubeRayExecutor]]:
    file = server.kubeconfig(tmp_path)
    made: list[KubeRayExecutor] = []

    def make(**options: Any) -> KubeRayExecutor:
        made.append(KubeRayExecutor(**{"kubeconfig": str(file), "image": "any:1", **options}))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def executor(make: Callable[..., KubeRayExecutor]) -> KubeRayExecutor:
    return make()


def until(true: Callable[[], Any], what: str = "") -> Any:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"it never happened: {what}")


def running(executor: KubeRayExecutor, **needs: Any) -> Any:
    job = executor.submit(sleep, needs=Needs(**needs))
    assert next(job.logs(follow=True)) == "asleep"
    return job


def resources(server: KubeAPI, plural: str) -> list[dict[str, Any]]:
    return server.store.list(plural, "default")[0]


# -- work, values, states ------------------------------------------------------


@pytest.mark.parametrize("mode", ["K8sJobMode", "SidecarMode", "HTTPMode"])
def test_a_call_gives_its_value_and_its_log_in_every_mode(
    make: Callable[..., KubeRayExecutor], mode: str
) -> None:
    job = make(submission=mode).submit(double, {"a": [1]}["a"])
    assert job.result(WAIT) == [1, 1]
    assert job.status() == "completed"
    assert list(job.logs()) == list(job.logs(follow=True)) == ["doubling [1]"]


def test_it_can_reattach_and_schedule(executor: KubeRayExecutor) -> None:
    assert isinstance(executor, CanReattach)
    assert isinstance(executor, CanSchedule)


def test_it_says_what_it_carries(executor: KubeRayExecutor) -> None:
    assert (executor.name, executor.carries, executor.shares_memory) == ("kuberay", "json", False)


def test_an_exception_is_the_cause_and_its_traceback_the_message(executor: KubeRayExecutor) -> None:
    job = executor.submit(fail)
    with pytest.raises(JobError, match='raise ValueError\\("no good", 7\\)') as error:
        job.result(WAIT)
    assert isinstance(error.value.__cause__, ValueError)
    assert error.value.__cause__.args == ("no good", 7)
    assert job.status() == "error"


def test_a_process_that_dies_is_lost_and_the_executor_goes_on(executor: KubeRayExecutor) -> None:
    job, other = executor.submit(die), executor.submit(double, 1)
    with pytest.raises(JobLost, match="exit code 9"):
        job.result(WAIT)
    assert job.status() == "lost"
    assert other.result(WAIT) == 2


def test_a_failed_call_is_not_made_again(server: KubeAPI, executor: KubeRayExecutor) -> None:
    with pytest.raises(JobError):
        executor.submit(fail).result(WAIT)
    (job,) = resources(server, "rayjobs")
    until(lambda: resources(server, "rayjobs")[0]["status"].get("jobDeploymentStatus") == "Failed")
    assert job["spec"]["backoffLimit"] == 0
    assert resources(server, "rayjobs")[0]["status"]["failed"] == 1


@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "too-quick-to-see"])
def test_retries_make_it_again_when_they_are_asked_for(
    server: KubeAPI, make: Callable[..., KubeRayExecutor], tmp_path: Path, hidden: bool
) -> None:
    server.operator.hide_retrying = hidden

    def third_time(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        count = os.path.getsize(path)
        print("attempt", count)
        if count < 3:
            raise ValueError("again")
        return count

    assert make(retries=3).submit(third_time, str(tmp_path / "n")).result(WAIT) == 3


@pytest.mark.parametrize("bad", [threading.Lock(), (x for x in "ab")])
def test_an_argument_that_cannot_be_sent_fails_its_job_only(
    executor: KubeRayExecutor, bad: Any
) -> None:
    job = executor.submit(double, bad)
    assert job.status() == "error"
    with pytest.raises(JobError, match=r"argument 0 .* cannot be sent"):
        job.result()
    assert executor.submit(double, 2).result(WAIT) == 4


def test_a_result_that_is_not_json_says_so(executor: KubeRayExecutor) -> None:
    with pytest.raises(JobError, match=r"the result \(object\) is not JSON"):
        executor.submit(object).result(WAIT)


def test_a_requirement_that_cannot_be_installed_fails_with_its_name(
    executor: KubeRayExecutor,
) -> None:
    job = executor.submit(double, 1, needs=Needs(requirements=("no-such-thing-here==1",)))
    with pytest.raises(JobError, match="no-such-thing-here==1"):
        job.result(WAIT)
    assert job.status() == "error"


def test_a_job_that_does_not_start_in_time_says_what_its_pods_wait_for(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    server.operator._pods.waiting = server.operator.waiting = "ErrImagePull"
    job = make(start_timeout=1).submit(double, 1)
    with pytest.raises(JobError, match=r"did not start in time.*ErrImagePull: as told"):
        job.result(WAIT)
    assert job.status() == "error"


def test_result_waits_no_longer_than_it_is_told(executor: KubeRayExecutor) -> None:
    job = running(executor)
    with pytest.raises(TimeoutError):
        job.result(0.05)
    assert job.status() == "running"


def test_states_go_one_way(server: KubeAPI, make: Callable[..., KubeRayExecutor]) -> None:
    server.operator.hold = True
    job = make().submit(sleep, 0.5)
    seen = [job.status()]
    server.operator.hold = False
    while seen[-1] not in ("completed", "error"):
        if (now := job.status()) != seen[-1]:
            seen.append(now)
    assert seen == ["pending", "running", "completed"]


def test_map_yields_values_and_errors_and_draws_lazily(executor: KubeRayExecutor) -> None:
    def half(x: int) -> float:
        return 4 / x

    drawn = []

    def items() -> Iterator[int]:
        for i in itertools.count():
            drawn.append(i)
            yield i

    found = executor.map(half, items(), in_flight=2)
    got = dict(itertools.islice(found, 3))
    found.close()
    assert len(drawn) <= 5
    assert isinstance(got.get(0, JobError()), JobError)
    assert all(v == 4 / i for i, v in got.items() if i)


def test_map_that_is_left_cancels_what_is_in_flight(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    def first_or_sleep(x: int) -> int:
        import time

        time.sleep(300 * (x > 0))
        return x

    found = executor.map(first_or_sleep, [0, 1], in_flight=2)
    assert next(iter(found)) == (0, 0)
    found.close()
    until(lambda: not server.operator.processes(), "only the first may still be on its way out")


# -- what goes along -------------------------------------------------------------


def test_variables_secrets_and_code_come_along(
    server: KubeAPI, executor: KubeRayExecutor, tmp_path: Path
) -> None:
    def look() -> list[str]:
        import os

        from along_kube import VALUE  # type: ignore[import-not-found]

        return [os.environ["MODE"], os.environ["TOKEN"], os.environ["FILE"], VALUE]

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "along_kube.py").write_text("VALUE = 'code'\n")
    (tmp_path / "key").write_text("of a file\n")
    server.secret("hub", {"token": "of kubernetes"})
    needs = Needs(
        env={"MODE": "$(HOME) `x` $y ü"},
        secrets={"TOKEN": "k8s:hub/token", "FILE": f"file:{tmp_path}/key"},
        source=str(tmp_path / "code"),
    )
    found = executor.submit(look, needs=needs).result(WAIT)
    assert found == ["$(HOME) `x` $y ü", "of kubernetes", "of a file", "code"]
    text = json.dumps([resources(server, p) for p in ("rayjobs", "rayclusters", "pods")])
    assert "of kubernetes" not in text
    assert "of a file" not in text


def test_a_source_that_is_not_there_fails_the_job(executor: KubeRayExecutor) -> None:
    with pytest.raises(JobError, match="neither a folder nor a zip file"):
        executor.submit(double, 1, needs=Needs(source="/no/such/folder")).result()


def test_a_call_too_large_for_a_manifest_goes_through_the_store(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    large = os.urandom(100_000).hex()
    job = make(shares_files=True).submit(len, large)
    assert job.result(WAIT) == 200_000
    assert len(json.dumps(resources(server, "rayjobs")[0])) < 8_000
    with pytest.raises(JobError, match=r"a manifest holds 60 KB.*MLRUN_OBJECTS_URL"):
        make().submit(len, large).result()


def test_facts_stand_on_the_rayjob(server: KubeAPI, executor: KubeRayExecutor) -> None:
    needs = Needs(name="Train: ünï", labels={"team": "a b"}, num_cpus=2)
    job = executor.submit(double, 1, needs=needs)
    found = server.store.get("rayjobs", "default", job.id)
    assert found["metadata"]["annotations"]["mlrun/name"] == "Train: ünï"
    assert found["metadata"]["labels"]["mlrun/team"].startswith("a-b-")
    assert job.id.startswith("train-n-")
    assert len(job.id) <= 47


# -- the end ---------------------------------------------------------------------


def test_cancel_ends_native_sleep_and_takes_everything_away(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    (pid,) = server.operator.processes()
    job.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert job.status() == "aborted"
    assert [resources(server, p) for p in ("rayjobs", "rayclusters", "pods")] == [[], [], []]
    with pytest.raises(JobAborted, match="it was cancelled"):
        job.result()
    job.cancel()
    assert list(job.logs()) == ["asleep"]
    assert any("DELETE" in r for r in server.requests)


def test_cancel_while_pending(server: KubeAPI, executor: KubeRayExecutor) -> None:
    server.operator.hold = True
    job = executor.submit(double, 1)
    job.cancel()
    assert job.status() == "aborted"
    assert resources(server, "rayjobs") == []


def test_cancel_keeps_the_end_of_what_had_ended(executor: KubeRayExecutor) -> None:
    job = executor.submit(double, 1)
    assert job.result(WAIT) == 2
    job.cancel()
    assert (job.status(), job.result()) == ("completed", 2)


def test_a_rayjob_that_somebody_deletes_is_aborted(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    server.store.delete("rayjobs", "default", job.id)
    with pytest.raises(JobAborted, match="somebody deleted"):
        job.result(WAIT)


def test_the_time_limit_ends_the_call(server: KubeAPI, executor: KubeRayExecutor) -> None:
    job = running(executor, time_limit=0.5)
    with pytest.raises(JobAborted, match=r"time limit of 0\.5 s"):
        job.result(WAIT)
    assert job.status() == "aborted"
    until(lambda: not server.operator.processes())


def test_the_deadline_ends_what_cannot_end_itself(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    server.store.patch("rayjobs", "default", job.id, {"spec": {"activeDeadlineSeconds": 1}})
    with pytest.raises(JobAborted, match=r"time limit is over.*DeadlineExceeded"):
        job.result(WAIT)
    assert server.operator.processes() == []


def test_close_cancels_what_is_left_and_refuses_more(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    executor.close()
    executor.close()
    assert job.status() == "aborted"
    assert server.operator.processes() == []
    with pytest.raises(ExecutorError, match="closed"):
        executor.submit(double, 1)


def test_the_log_outlives_the_cluster_and_the_job(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    server.operator.delete_after_ttl = True
    job = make(ttl=0).submit(double, 3)
    until(lambda: not resources(server, "rayjobs"), "the TTL deletes it")
    assert job.result(WAIT) == 6
    assert list(job.logs(follow=True)) == ["doubling 3"]
    assert resources(server, "pods") == []


# -- other drivers ---------------------------------------------------------------


def test_another_executor_finds_a_job_again(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    first = make()
    job = running(first)
    first.detach()
    assert server.operator.processes()
    again = make().job(job.id)
    assert next(again.logs(follow=True)) == "asleep"
    assert again.status() == "running"
    again.cancel()
    assert again.status() == "aborted"


def test_a_job_that_ended_while_nobody_looked_is_found_with_its_value(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    first = make()
    job = first.submit(double, 21)
    first.detach()
    until(lambda: resources(server, "rayjobs")[0].get("status", {}).get("jobStatus") == "SUCCEEDED")
    again = make().job(job.id)
    assert again.result(WAIT) == 42
    assert list(again.logs()) == ["doubling 21"]


def test_what_is_not_there_is_not_found(server: KubeAPI, executor: KubeRayExecutor) -> None:
    with pytest.raises(NotFound, match="no job 'nothing'"):
        executor.job("nothing")
    server.store.create("rayjobs", "default", {"metadata": {"name": "foreign"}, "spec": {}})
    with pytest.raises(NotFound, match="no job 'foreign'"):
        executor.job("foreign")


def test_a_suspended_job_waits_until_it_is_admitted(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    job = make(suspend=True).submit(double, 2)
    state = until(
        lambda: (
            resources(server, "rayjobs")[0].get("status", {}).get("jobDeploymentStatus")
            == "Suspended"
        )
    )
    assert state
    assert job.status() == "pending"
    server.store.patch("rayjobs", "default", job.id, {"spec": {"suspend": False}})
    assert job.result(WAIT) == 4


# -- a cluster that stays ----------------------------------------------------------


def test_a_cluster_that_is_there_runs_many_and_stays(
    server: KubeAPI, make: Callable[..., KubeRayExecutor]
) -> None:
    maker = make()
    name = maker.make_cluster("Shared one")
    assert maker.make_cluster("Shared one") == name
    executor = make(cluster=name)
    assert [executor.submit(double, i).result(WAIT) for i in (1, 2)] == [2, 4]
    job = running(executor)
    job.cancel()
    assert server.operator.processes() == []
    assert [c["metadata"]["name"] for c in resources(server, "rayclusters")] == [name]
    assert maker.delete_cluster("Shared one") is True
    assert maker.delete_cluster("Shared one") is False


# -- schedules -----------------------------------------------------------------------


def test_a_schedule_makes_jobs_by_the_clock_until_it_is_taken_away(
    server: KubeAPI, executor: KubeRayExecutor, tmp_path: Path
) -> None:
    def note(path: str) -> None:
        with open(path, "a") as file:
            file.write("x")

    target = tmp_path / "ticks"
    server.operator.every = 0.2
    name = executor.schedule("Every now", "*/5 * * * *", note, str(target))
    until(lambda: target.exists() and target.stat().st_size >= 2, "two ticks")
    (cron,) = resources(server, "raycronjobs")
    assert (cron["metadata"]["name"], cron["spec"]["schedule"]) == (name, "*/5 * * * *")
    assert executor.schedule("Every now", "0 3 * * *", note, str(target)) == name
    (cron,) = resources(server, "raycronjobs")
    assert cron["spec"]["schedule"] == "0 3 * * *"
    assert executor.unschedule("Every now") is True
    assert executor.unschedule("Every now") is False


@pytest.mark.parametrize("cron", ["", "* * * *", "soon", "* * * * * *"])
def test_a_schedule_without_five_fields_is_refused(executor: KubeRayExecutor, cron: str) -> None:
    with pytest.raises(ConfigError, match="five fields"):
        executor.schedule("x", cron, double, 1)


# -- an API server that misbehaves ------------------------------------------------------


def test_watches_and_logs_that_break_go_on_where_they_were(
    server: KubeAPI, executor: KubeRayExecutor, tmp_path: Path
) -> None:
    def count(path: str) -> int:
        import os
        import time

        for i in range(40):
            print("line", i, flush=True)
            time.sleep(0.02)
        while not os.path.exists(path):
            time.sleep(0.02)
        print("last")
        return 40

    job = executor.submit(count, str(tmp_path / "go"))
    lines = []
    for line in job.logs(follow=True):
        lines.append(line)
        if len(lines) in (5, 20):
            assert server.drop_watches()
        if len(lines) == 40:
            server.drop_watches()
            (tmp_path / "go").touch()
    assert lines == [f"line {i}" for i in range(40)] + ["last"]
    assert job.result(WAIT) == 40
    assert executor._watch.opens >= 2


def test_a_version_that_is_gone_makes_it_list_anew(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    before = executor._watch.lists
    server.forget()
    until(lambda: executor._watch.lists > before, "a second list")
    server.store.delete("rayjobs", "default", job.id)
    with pytest.raises(JobAborted):
        job.result(WAIT)


def test_what_was_made_after_a_list_was_drawn_up_is_not_gone(
    server: KubeAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = KubeClient(KubeOptions.read(kubeconfig=str(server.kubeconfig(tmp_path))))
    watch = KubeWatch(client, "rayjobs", "")
    listed = client.listed

    def late(plural: str, selector: str) -> Any:
        found = listed(plural, selector)
        made = {"metadata": {"name": "new"}, "spec": {}}
        watch.note(server.store.create("rayjobs", "default", made))
        return found

    monkeypatch.setattr(client, "listed", late)
    watch.start()
    until(lambda: watch.opens)
    assert watch.get("new")[1] is False
    server.store.delete("rayjobs", "default", "new")
    until(lambda: watch.get("new")[1], "its deletion is heard")
    watch.close()
    client.close()


def test_what_was_deleted_during_a_break_is_noticed(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    server.fault("GET", r"watch=", status=500, times=3)
    server.store.delete("rayjobs", "default", job.id)
    server.forget()
    with pytest.raises(JobAborted, match="somebody deleted"):
        job.result(WAIT)


@pytest.mark.parametrize("status", [500, 503, 429, 409])
def test_a_request_that_fails_for_the_moment_is_made_again(
    server: KubeAPI, executor: KubeRayExecutor, status: int
) -> None:
    server.fault("POST", "rayjobs", status=status, times=2)
    assert executor.submit(double, 1).result(WAIT) == 2
    assert len(resources(server, "rayjobs")) == 1


def test_a_creation_whose_answer_was_lost_is_not_made_twice(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    server.fault("POST", "rayjobs", status=500, after=True)
    assert executor.submit(double, 1).result(WAIT) == 2
    assert len(resources(server, "rayjobs")) == 1


def test_a_slow_server_is_waited_for(server: KubeAPI, executor: KubeRayExecutor) -> None:
    server.fault("GET", "rayjobs", delay=0.5, times=2)
    server.fault("GET", "/log", delay=0.5, status=500)
    assert executor.submit(double, 1).result(WAIT) == 2


def test_deletion_that_fails_for_the_moment_is_asked_again(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    job = running(executor)
    server.fault("DELETE", "rayjobs", status=500, times=1, after=True)
    server.fault("DELETE", "rayjobs", status=409, times=1)
    job.cancel()
    assert server.operator.processes() == []
    assert job.status() == "aborted"


def test_a_refusal_is_the_jobs_error_with_the_servers_words(
    server: KubeAPI, executor: KubeRayExecutor
) -> None:
    server.fault("POST", "rayjobs", status=403)
    job = executor.submit(double, 1)
    with pytest.raises(JobError, match=r"refused to create rayjobs .*403 told to misbehave"):
        job.result()


def test_a_wrong_token_is_said_without_being_shown(server: KubeAPI, tmp_path: Path) -> None:
    file = server.kubeconfig(tmp_path)
    file.write_text(file.read_text().replace(server.token, "wrong-token-1"))
    executor = KubeRayExecutor(kubeconfig=str(file), image="x")
    with pytest.raises(JobError, match="401 Unauthorized") as error:
        executor.submit(double, 1).result()
    assert "wrong-token-1" not in str(error.value)
    executor.close()


def test_a_server_that_is_not_there_is_said(
    server: KubeAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlrun.executors.kube_client as module

    monkeypatch.setattr(module, "_TRIES", 2)
    file = server.kubeconfig(tmp_path)
    file.write_text(file.read_text().replace(server.url, "http://127.0.0.1:9"))
    executor = KubeRayExecutor(kubeconfig=str(file), image="x")
    with pytest.raises(JobError, match="the API server gave no answer"):
        executor.submit(double, 1).result()
    executor.close()


# -- configuration ------------------------------------------------------------------------


def test_the_context_chooses_the_namespace(server: KubeAPI, tmp_path: Path) -> None:
    file = server.kubeconfig(tmp_path, namespace="science")
    executor = KubeRayExecutor(kubeconfig=str(file), context="test", image="x")
    job = executor.submit(double, 1)
    assert job.result(WAIT) == 2
    assert server.store.get("rayjobs", "science", job.id)
    executor.close()


def test_no_configuration_and_no_such_context_are_said(
    server: KubeAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(ExecutorError, match="no cluster to talk to"):
        KubeRayExecutor(image="x")
    file = server.kubeconfig(tmp_path)
    with pytest.raises(ExecutorError, match="nowhere"):
        KubeRayExecutor(kubeconfig=str(file), context="nowhere", image="x")


def test_only_this_wing_loads_the_client() -> None:
    import subprocess

    code = "import mlrun, sys; mlrun.init; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
