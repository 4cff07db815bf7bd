"""`deploy/k8s`: manifests against the models of Kubernetes' client, and rights against what the executor calls."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from mlrun.app.options import Options
from mlrun.cli.root import cli
from mlrun.config import Settings

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy/k8s"
FOLDERS = ("gateway", "ray")
DESK = K8S / "gateway/desk.yaml"  # made by hand when it is wanted
FILES = sorted(p for p in K8S.glob("*/*.yaml") if p.name != "kustomization.yaml")
Manifest = dict[str, Any]

# Verbs of a call of `KubeClient`: with what it does when others are at it, too.
VERBS = {
    "create": {"create", "get"},
    "replace": {"create", "get", "update"},
    "get": {"get"},
    "delete": {"delete", "get"},
    "KubeWatch": {"list", "watch"},
}
CORE = {
    "list_namespaced_pod": ("pods", "list"),
    "read_namespaced_pod_log": ("pods/log", "get"),
    "read_namespaced_secret": ("secrets", "get"),
    "connect_get_namespaced_service_proxy_with_path": ("services/proxy", "get"),
}


def kustomization(folder: str) -> Manifest:
    found: Manifest = yaml.safe_load((K8S / folder / "kustomization.yaml").read_text("utf-8"))
    return found


def manifests(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def of_kind(kind: str, *, dashboard: bool = False) -> Manifest:
    paths = [path for path in FILES if (path.name == "dashboard.yaml") == dashboard]
    (found,) = [m for path in paths for m in manifests(path) if m["kind"] == kind]
    return found


def policy(folder: str) -> Manifest:
    (found,) = manifests(K8S / folder / "network-policy.yaml")
    return found


def gateway_pod() -> Manifest:
    found: Manifest = of_kind("Deployment")["spec"]["template"]["spec"]
    return found


def dashboard_pod() -> Manifest:
    found: Manifest = of_kind("Deployment", dashboard=True)["spec"]["template"]["spec"]
    return found


def pods() -> list[Manifest]:
    cron = of_kind("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [gateway_pod(), cron, manifests(DESK)[0]["spec"], dashboard_pod()]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(K8S)))
def test_manifests_are_what_the_models_of_the_client_hold(path: Path) -> None:
    client: Any = ApiClient()
    for manifest in manifests(path):
        model = client.deserialize(json.dumps(manifest), f"V1{manifest['kind']}", None)
        assert client.sanitize_for_serialization(model) == manifest


def test_a_field_that_kubernetes_does_not_know_would_be_seen() -> None:
    client: Any = ApiClient()
    wrong = of_kind("Service")
    wrong["spec"]["sessionAfinity"] = "None"
    model = client.deserialize(json.dumps(wrong), "V1Service", None)
    assert client.sanitize_for_serialization(model) != wrong


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_lists_every_manifest_of_its_folder(folder: str) -> None:
    found = kustomization(folder)
    listed = [(K8S / folder / name).resolve() for name in found["resources"]]
    assert [path for path in listed if not path.is_file()] == []
    own = {path for path in FILES if path.parent.name == folder} - {DESK}
    assert own <= set(listed)
    assert set(listed) - own == ({ROOT / "ray-cluster.yaml"} if folder == "ray" else set())


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
def test_kustomize_builds_it(folder: str, tmp_path: Path) -> None:
    command = ["kubectl", "kustomize", "--load-restrictor", "LoadRestrictionsNone"]
    done = subprocess.run(
        [*command, str(K8S / folder)],
        env={**os.environ, "KUBECONFIG": os.devnull, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    namespace = kustomization(folder)["namespace"]
    places = [m["metadata"].get("namespace") for m in built if m["kind"] != "Namespace"]
    assert set(places) == {namespace}
    assert [m["metadata"]["name"] for m in built if m["kind"] == "Namespace"] == [namespace]


def test_images_have_a_version() -> None:
    (image,) = kustomization("gateway")["images"]
    assert image["newTag"][0].isdigit()
    named = {container["image"] for pod in pods() for container in pod["containers"]}
    assert named == {image["name"], f"{image['name']}:{image['newTag']}"}


def test_the_gateway_is_started_with_options_that_it_has() -> None:
    (container,) = gateway_pod()["containers"]
    name, *rest = container["args"]
    with cli.make_context("mlrun", [name]) as context:
        found = cli.get_command(context, name)
        assert found is not None
        given = found.make_context(name, rest, parent=context).params
        assert cli.get_command(context, pods()[1]["containers"][0]["args"][0]) is not None
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"https": given["port"], "flight": given["flight_port"]}
    (tls,) = [m for m in container["volumeMounts"] if m["name"] == "tls"]
    assert given["tls_cert"] == f"{tls['mountPath']}/tls.crt"
    assert given["tls_key"] == f"{tls['mountPath']}/tls.key"


def test_the_dashboard_is_started_with_options_that_it_has() -> None:
    (container,) = dashboard_pod()["containers"]
    name, *rest = container["args"]
    with cli.make_context("mlrun", [name]) as context:
        found = cli.get_command(context, name)
        assert found is not None
        given = found.make_context(name, rest, parent=context).params
    assert [port["containerPort"] for port in container["ports"]] == [given["port"]]
    (service,) = of_kind("Service", dashboard=True)["spec"]["ports"]
    assert service["port"] == given["port"]
    labels = of_kind("Deployment", dashboard=True)["spec"]["template"]["metadata"]["labels"]
    selector = of_kind("Service", dashboard=True)["spec"]["selector"]
    assert selector.items() <= labels.items()


def test_stores_are_settings_that_come_from_a_secret() -> None:
    known = {f"MLRUN_{f.name.upper()}" for f in fields(Settings)}
    (dashboard,) = dashboard_pod()["containers"]
    gateway = of_kind("Service")
    url = f"https://{gateway['metadata']['name']}:{gateway['spec']['ports'][0]['port']}"
    assert dashboard["env"] == [{"name": "MLRUN_DBPATH", "value": url}]
    for pod in pods()[:3]:
        env = pod["containers"][0]["env"]
        assert {e["name"] for e in env} <= known
        assert all(set(e["valueFrom"]) == {"secretKeyRef"} for e in env)
        assert {e["valueFrom"]["secretKeyRef"]["name"] for e in env} == {"mlrun-stores"}
    assert not [m for path in FILES for m in manifests(path) if m["kind"] == "Secret"]


def test_pods_run_as_the_user_of_the_image_with_no_rights() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    for pod in pods():
        user = pod["securityContext"]["runAsUser"]
        assert f"USER {user}:{pod['securityContext']['runAsGroup']}\n" in dockerfile
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
        mounted = {m["name"] for c in pod["containers"] for m in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_probes_ask_open_routes_by_a_name_that_is_always_allowed() -> None:
    (container,) = gateway_pod()["containers"]
    probes = {k: v["httpGet"] for k, v in container.items() if k.endswith("Probe")}
    paths = {name: probe["path"] for name, probe in probes.items()}
    assert paths == {
        "startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz",
    }  # fmt: skip
    for probe in probes.values():
        assert (probe["port"], probe["scheme"]) == ("https", "HTTPS")
        assert probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


def test_a_pod_has_time_to_drain_and_memory_for_its_queries() -> None:
    pod, limits = gateway_pod(), Options()
    (container,) = pod["containers"]
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > pause + limits.drain_seconds
    memory = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) << 30
    assert memory > limits.sql_children * limits.sql_bytes


def test_everything_that_selects_the_gateway_finds_it() -> None:
    deployment, service = of_kind("Deployment")["spec"], of_kind("Service")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"]["matchLabels"],
        service["selector"],
        of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        policy("gateway")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    ports = {p["name"]: p["containerPort"] for p in gateway_pod()["containers"][0]["ports"]}
    assert {p["targetPort"]: p["port"] for p in service["ports"]} == ports
    (rule,) = policy("gateway")["spec"]["ingress"]
    pages = {p["containerPort"] for p in dashboard_pod()["containers"][0]["ports"]}
    assert {p["port"] for p in rule["ports"]} == {*ports.values(), *pages}
    assert of_kind("PodDisruptionBudget")["spec"]["minAvailable"] < deployment["replicas"]


def test_jobs_may_call_the_gateway_and_see_none_of_its_secrets() -> None:
    gateway, ray = kustomization("gateway")["namespace"], kustomization("ray")["namespace"]
    assert gateway != ray
    (namespace,) = manifests(K8S / "ray/namespace.yaml")
    callers = policy("gateway")["spec"]["ingress"][0]["from"]
    (wanted,) = [c["namespaceSelector"]["matchLabels"] for c in callers if "namespaceSelector" in c]
    assert wanted.items() <= namespace["metadata"]["labels"].items()
    (secrets,) = [r for r in of_kind("Role")["rules"] if r["resources"] == ["secrets"]]
    cluster = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text(encoding="utf-8"))
    assert secrets["resourceNames"] == [cluster["metadata"]["name"]]
    (subject,) = of_kind("RoleBinding")["subjects"]
    assert subject["namespace"] == ray


def calls(tree: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def trees() -> dict[str, ast.Module]:
    paths = (ROOT / "executors").glob("kube*.py")
    return {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def core_calls() -> set[tuple[str, str]]:
    """Resources and verbs of the core API that `KubeClient` asks for."""
    return {
        CORE[call.func.attr]
        for call in calls(trees()["kube_client"])
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self.core"
    }


def custom_calls() -> set[tuple[str, str]]:
    """Resources and verbs of KubeRay that the executor asks for, through `KubeClient`."""
    found: set[tuple[str, str]] = set()
    names = {
        target.id: node.value.value
        for tree in trees().values()
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for stem in ("kuberay", "kube_job", "kube_logs"):
        for call in calls(trees()[stem]):
            text = ast.unparse(call.func)
            if text == "KubeWatch":
                verb, plural = text, call.args[1]
            elif (verb := text.removeprefix("self._client.")) in VERBS and verb != text:
                plural = call.args[0]
            else:
                continue
            kind = plural.value if isinstance(plural, ast.Constant) else names[ast.unparse(plural)]
            found |= {(str(kind), v) for v in VERBS[verb]}
    return found


def test_the_role_grants_what_the_executor_calls_and_no_more() -> None:
    granted = {
        (group, resource, verb)
        for rule in of_kind("Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = {("", *call) for call in core_calls()} | {("ray.io", *c) for c in custom_calls()}
    assert len(needed) == 17
    assert granted == needed


def test_verbs_of_custom_resources_are_those_that_the_client_uses() -> None:
    used = {
        call.func.attr.removesuffix("_namespaced_custom_object")
        for call in calls(trees()["kube_client"])
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self.custom"
    }
    verbs = {"update" if verb == "replace" else verb for verb in used}
    assert verbs | {"watch"} == set().union(*VERBS.values())
