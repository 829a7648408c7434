"""What k8s/ holds, read from its files; and, where kubectl is, what its overlays make of them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
APART = {"place.yaml", "workflow-controller.yaml"}  # not manifests: the graph's, and a patch of Kubeflow's ConfigMap
KUBECTL = shutil.which("kubectl")
UNTIL_DEPLOYED = "set-by-make-deploy"

Object = dict[str, Any]


def documents(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomizations() -> dict[Path, Object]:
    return {path.parent: documents(path)[0] for path in K8S.rglob("kustomization.yaml")}


def manifests() -> dict[str, Object]:
    """Every object in the files, by kind and name; an overlay's patches are not among them."""
    resources = {folder / name for folder, one in kustomizations().items() for name in one["resources"]}
    objects = [one for path in sorted(resources) if path.is_file() for one in documents(path)]
    return {f"{one['kind']} {one['metadata']['name']}": one for one in objects}


@cache
def rendered(overlay: str) -> dict[str, Object]:
    """The same of an overlay as `make deploy` sends it."""
    return kustomized([K8S / "render", overlay])


def kustomized(command: list[str | Path]) -> dict[str, Object]:
    """The objects that a command prints which needs kubectl."""
    if not KUBECTL:
        pytest.skip("kubectl is not on PATH, so only the files are read, and not what overlays make of them")
    environment = {**os.environ, "REGISTRY": "registry.example:5000/team", "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(done.stdout)}


@pytest.fixture(params=["files", *OVERLAYS])
def objects(request: pytest.FixtureRequest) -> dict[str, Object]:
    return manifests() if request.param == "files" else rendered(request.param)


def pods(objects: dict[str, Object]) -> Iterator[tuple[str, Object]]:
    """The pods of all that makes pods."""
    for name, one in objects.items():
        if template := one.get("spec", {}).get("template"):
            yield name, template["spec"]


def containers(objects: dict[str, Object]) -> list[Object]:
    return [one for _, pod in pods(objects) for one in (*pod.get("initContainers", []), *pod["containers"])]


def controller() -> dict[str, Object]:
    """The settings of the workflow controller."""
    (patch,) = documents(K8S / "workflow-controller.yaml")
    assert [*patch] == ["data"]
    return {key: yaml.safe_load(text) for key, text in patch["data"].items()}


def launcher(objects: dict[str, Object]) -> Object:
    return yaml.safe_load(objects["ConfigMap kfp-launcher"]["data"]["providers"])["minio"]["default"]


# Files


def test_every_file_is_read_by_somebody():
    named = {
        folder / item
        for folder, one in kustomizations().items()
        for item in (*one["resources"], *(patch["path"] for patch in one.get("patches", []) if "path" in patch))
    }
    files = [path for path in K8S.rglob("*.yaml") if path.name != "kustomization.yaml"]
    assert not [path.name for path in files if path not in named and path.name not in APART]


def test_every_overlay_names_only_what_exists():
    for folder, one in kustomizations().items():
        paths = [
            *one["resources"],
            *one.get("components", []),
            *(p["path"] for p in one.get("patches", []) if "path" in p),
        ]
        assert not [path for path in paths if not (folder / path).exists()], folder


def test_every_manifest_says_what_it_is():
    assert len(manifests()) == 12
    assert not [name for name, one in manifests().items() if not one.get("apiVersion")]


def test_no_key_is_in_the_tree(objects):
    assert not [name for name in objects if name.startswith("Secret ")]
    variables = [one for container in containers(objects) for one in container.get("env", [])]
    assert not [
        one["name"]
        for one in variables
        if re.search("KEY|SECRET|PASSWORD|TOKEN", one["name"]) and not by_reference(one)
    ]


def by_reference(variable: Object) -> bool:
    return "secretKeyRef" in variable.get("valueFrom", {}) or variable["name"].endswith("_FILE")


def test_git_ignores_the_keys():
    assert "keys.env" in (K8S / ".gitignore").read_text(encoding="utf-8").splitlines()
    shape = (K8S / "keys.env.example").read_text(encoding="utf-8")
    assert re.findall("^([a-z]+)=", shape, re.MULTILINE) == ["accesskey", "secretkey"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_of_an_overlay_is_in_kubeflows_namespace(overlay):
    assert {one["metadata"].get("namespace") for one in rendered(overlay).values()} == {"kubeflow"}
    (subject,) = rendered(overlay)["RoleBinding syntrial"]["subjects"]
    assert subject["namespace"] == "kubeflow"


# Pods: what the Pod Security Standard `restricted` asks for, and more


def test_every_container_may_do_nothing_but_run(objects):
    for container in containers(objects):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_every_pod_runs_as_nobody_in_particular(objects):
    for name, pod in pods(objects):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name


def test_no_pod_of_ours_gets_a_token_or_its_neighbours_addresses(objects):
    for name, pod in pods(objects):
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name


def test_every_container_says_what_it_needs_and_the_most_that_it_may_use(objects):
    for container in containers(objects):
        assert {*container["resources"]["requests"]} == {*container["resources"]["limits"]} == {"cpu", "memory"}


def test_what_runs_on_is_probed(objects):
    for container in objects["StatefulSet minio"]["spec"]["template"]["spec"]["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= {*container}


def test_files_name_no_image_that_exists():
    images = [container["image"] for container in containers(manifests())]
    assert sorted(images) == [f"syntrial-light:{UNTIL_DEPLOYED}", f"syntrial-minio:{UNTIL_DEPLOYED}"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_deployed_is_labelled_with_the_hash_of_its_content(overlay):
    images = [container["image"] for container in containers(rendered(overlay))]
    pattern = r"registry[.]example:5000/team/syntrial-(light|minio):([a-z]+-)?[0-9a-f]{16}"
    assert len(images) == 2
    assert not [image for image in images if not re.fullmatch(pattern, image)]


def test_data_outlive_the_store(objects):
    spec = objects["StatefulSet minio"]["spec"]
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]
    assert "persistentVolumeClaimRetentionPolicy" not in spec  # Kubernetes' own is to keep it


# Rights


def test_the_account_has_the_launchers_rights_and_no_others(objects):
    assert [one for one in objects if one.startswith(("Role ", "ClusterRole "))] == ["Role syntrial"]
    rights = {
        (resource, verb, name)
        for rule in objects["Role syntrial"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", ["any"])
    }
    assert rights == {
        ("configmaps", "get", "kfp-launcher"),
        ("secrets", "get", "syntrial-store"),
        ("workflowtaskresults", "create", "any"),
        ("workflowtaskresults", "patch", "any"),
    }


def test_the_store_answers_its_own_namespace_and_calls_nobody(objects):
    policy = objects["NetworkPolicy syntrial-minio"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 9000}]}]
    assert "egress" not in policy


def test_boxes_are_called_by_nobody_and_call_no_port_that_they_do_not_need(objects):
    policy = objects["NetworkPolicy syntrial"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    called = [{port["port"] for port in rule["ports"]} for rule in policy["egress"]]
    names, neighbours, https, pushgateway = {53, 5353}, {8080, 8333, 8887, 9000}, {443, 6443, 8443, 16443}, {9091}
    assert called == [names, neighbours, https, pushgateway]
    assert policy["egress"][1]["to"] == [{"podSelector": {}}]


def test_the_policies_select_the_pods_they_are_made_for(objects):
    labels = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in objects.items() if pods_of(one)}
    boxes = objects["NetworkPolicy syntrial"]["spec"]["podSelector"]["matchLabels"]
    store = objects["NetworkPolicy syntrial-minio"]["spec"]["podSelector"]["matchLabels"]
    assert [name for name, found in labels.items() if boxes.items() <= found.items()] == ["Job syntrial-buckets"]
    assert [name for name, found in labels.items() if store.items() <= found.items()] == ["StatefulSet minio"]
    assert objects["Service minio"]["spec"]["selector"] == store


def pods_of(one: Object) -> bool:
    return "template" in one.get("spec", {})


# Settings


def test_the_store_has_one_address_for_boxes_and_for_the_launcher(objects):
    ours, theirs = objects["ConfigMap syntrial-store"]["data"], launcher(objects)
    assert theirs["endpoint"] == ours["MINIO_ENDPOINT"]
    assert theirs["disableSSL"] is (ours["MINIO_SECURE"] == "false")
    assert theirs["region"] == ours["MINIO_REGION"]
    assert {port["port"] for port in objects["Service minio"]["spec"]["ports"]} == {
        int(ours["MINIO_ENDPOINT"].split(":")[1])
    }


def test_the_launcher_has_what_it_would_crash_without(objects):
    assert isinstance(launcher(objects)["maxRetries"], int)


def test_all_who_need_keys_name_the_same_secret(objects):
    reference = launcher(objects)["credentials"]["secretRef"]
    assert reference == {"secretName": "syntrial-store", "accessKeyKey": "accesskey", "secretKeyKey": "secretkey"}
    (box,) = objects["Job syntrial-buckets"]["spec"]["template"]["spec"]["containers"]
    sources = [one["valueFrom"] for one in box["env"]]
    named = {one["secretKeyRef"]["name"] for one in sources if "secretKeyRef" in one}
    volumes = objects["StatefulSet minio"]["spec"]["template"]["spec"]["volumes"]
    assert named | {one["secret"]["secretName"] for one in volumes if "secret" in one} == {"syntrial-store"}


def test_the_buckets_that_are_made_are_those_that_are_used(objects):
    (box,) = objects["Job syntrial-buckets"]["spec"]["template"]["spec"]["containers"]
    (name,) = re.findall(r"\$\((\w+)\)", " ".join(box["command"]))
    (source,) = [one["valueFrom"]["configMapKeyRef"] for one in box["env"] if one["name"] == name]
    assert source == {"name": "kfp-launcher", "key": "defaultPipelineRoot"}
    assert objects["ConfigMap kfp-launcher"]["data"]["defaultPipelineRoot"].startswith("minio://")
    assert box["envFrom"] == [{"configMapRef": {"name": "syntrial-store"}}]
    assert objects["ConfigMap syntrial-store"]["data"]["SYNTRIAL_CHECKPOINT_URI"].startswith("minio://")
    assert not [word for word in box["command"] if "://" in word]


def test_a_certificate_of_ones_own_may_be_there_or_not(objects):
    pod = objects["Job syntrial-buckets"]["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "syntrial-ca", "configMap": {"name": "syntrial-ca", "optional": True}}]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount == {"name": "syntrial-ca", "mountPath": "/etc/syntrial-ca", "readOnly": True}


def test_the_overlay_in_the_documentation_is_one(tmp_path):
    objects = as_written(tmp_path)
    assert objects["ServiceAccount syntrial"]["imagePullSecrets"] == [{"name": "registry"}]
    assert objects["PodMonitor syntrial"]["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert objects["ConfigMap syntrial-store"]["data"]["SYNTRIAL_METRICS_PORT"] == "9464"
    assert objects["ConfigMap syntrial-ca"]["data"] == {"ca.crt": "trusted"}
    assert launcher(objects)["endpoint"] == "s3.hospital.example"


def as_written(folder: Path) -> dict[str, Object]:
    """What kubectl makes of the overlay in docs/kubeflow.md and of what it says about its files."""
    (text,) = re.findall(r"```yaml\n(namespace: .*?)```", (ROOT / "docs" / "kubeflow.md").read_text("utf-8"), re.DOTALL)
    shutil.copytree(K8S, folder / "k8s")
    overlay = folder / "k8s" / "overlays" / "hospital"
    overlay.mkdir()
    store = (K8S / "base" / "store.yaml").read_text("utf-8").replace("minio:9000", "s3.hospital.example")
    for name, content in {"kustomization.yaml": text, "ca.crt": "trusted", "store.yaml": store}.items():
        (overlay / name).write_text(content, encoding="utf-8")
    return kustomized(["kubectl", "kustomize", overlay])


def test_no_service_has_a_name_that_makes_one_of_our_variables(objects):
    services = [name.split()[1] for name in objects if name.startswith("Service ")]
    variables = {f"{name.upper().replace('-', '_')}_PORT" for name in services}
    assert not [name for name in variables if name.startswith("SYNTRIAL_")]


# Argo's controller


def test_a_pipelines_own_word_on_retries_counts_for_errors_and_failures():
    defaults = controller()["workflowDefaults"]["spec"]["templateDefaults"]
    limit, policy = defaults["retryStrategy"]["limit"], defaults["retryStrategy"]["retryPolicy"]
    assert (limit.rpartition(" : ")[2], policy) == ("'0'}}", "Always")


def test_the_drivers_of_our_boxes_are_tried_again_and_nobody_elses_are():
    limit = controller()["workflowDefaults"]["spec"]["templateDefaults"]["retryStrategy"]["limit"]
    found = re.fullmatch(r"\{\{=workflow[.]serviceAccountName == '(\w+)' && (.+) \? '[1-9]' : '0'\}\}", limit)
    account, drivers = found.groups()
    assert "ServiceAccount " + account in manifests()
    assert drivers == "node.name endsWith '-driver'"


def test_a_pod_that_was_evicted_before_its_start_is_made_anew():
    assert controller()["failedPodRestart"]["enabled"] is True


@pytest.mark.parametrize("pod, launcher", [("container-impl", ["kfp-launcher"]), ("container-driver", [])])
def test_the_root_of_our_boxes_is_read_only_and_nobody_elses_is(pod, launcher):
    text = controller()["workflowDefaults"]["spec"]["podSpecPatch"]
    found = re.fullmatch(r"\{\{=workflow[.]serviceAccountName == '(\w+)' \? (.+) : '(.+)'\}\}", text)
    account, expression, others = found.groups()
    assert "ServiceAccount " + account in manifests()
    assert yaml.safe_load(others) == {}
    before, part, more, less, after = re.fullmatch(
        r"'(.+)' \+ \(pod[.]name contains '([\w-]+)' \? '(.+)' : '(.*)'\) \+ '(.+)'", expression
    ).groups()
    ours = before + (more if part in f"smoke-x7k2p-system-{pod}-1234567" else less) + after
    spec = yaml.safe_load(ours)
    containers, prepared = spec["containers"], spec["initContainers"]
    assert [one["name"] for one in containers] == ["main", "wait"]
    assert [one["name"] for one in prepared] == ["init", *launcher]
    assert all(one["securityContext"] == {"readOnlyRootFilesystem": True} for one in containers + prepared)
    assert [mount["mountPath"] for mount in containers[0]["volumeMounts"]] == ["/tmp"]
    assert "}}" not in expression  # Argo would end its expression there
    assert not ours.startswith("{")  # Argo would take it for JSON
