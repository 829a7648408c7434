"""Our manifests and images on a real Kubernetes: a store that lasts, training that outlives its pod and the store."""

import contextlib
import json
import re
import subprocess

import lab
import pytest
import yaml
from local_runs import ROOT
from minio import Minio
from minio.error import S3Error
from spaces import deploy, pod, script, space, undeploy, until

from pipelines.cluster.containers import image_of
from pipelines.cluster.package import compiled
from pipelines.cluster.place import load_place
from syntrial.config import load_study

SAMPLE = ROOT / "data" / "sample" / "xray"
FAKE_NODE = ROOT.parent / "shared" / "cluster" / "kube" / "fake-node"
THEIRS = {"defaultPipelineRoot": "s3://theirs/root", "providers": "s3:\n  default: {}\n"}  # a launcher's settings
POD_MONITORS = "podmonitors.monitoring.coreos.com"

# What a process may do and find, as JSON.
FACTS = """
import importlib.util, json, os, pathlib
status = pathlib.Path("/proc/self/status").read_text()
writable = [folder for folder in ("/", "/opt/syntrial", "/etc", "/home", "/var/tmp") if os.access(folder, os.W_OK)]
print(json.dumps({
    "user": os.getuid(),
    "groups": [os.getgid(), *os.getgroups()],
    "capabilities": [line.split()[1] for line in status.splitlines() if line.startswith("Cap")],
    "new_privileges": "NoNewPrivs:\\t0" in status,
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "writable": writable,
    "torch": importlib.util.find_spec("torch") is not None,
    "pip": importlib.util.find_spec("pip") is not None,
}))
"""
INGEST = "syntrial ingest minio://syntrial/xrays /tmp/xrays --side 32"
IMAGES = 24  # X-rays of each class in the store
EPOCHS = 800
TRAIN = f"""
syntrial train-generator /tmp/xrays /tmp/generator --kind simple --label normal \
  --set generators.simple.epochs={EPOCHS} \
  --set generators.all.width=8 --set generators.all.batch=8 --set generators.all.collapse_below=0"""
# The shell is the first process, which nobody in the pod can kill; the training is its child.
TRAINING = f"""
{INGEST}
{TRAIN} &
echo $! >/tmp/training
wait $!
tail -n 1 /tmp/progress/train_generator-*.jsonl
cd /tmp/generator
sha256sum *
"""
KILL = ["python3", "-c", "import os; os.kill(int(open('/tmp/training').read()), 9)"]


@pytest.fixture(scope="module")
def ours(images, tmp_path_factory):
    """A namespace with our store, and an overlay that brings it; X-rays in the store."""
    with space("syntrial-test", tmp_path_factory.mktemp("overlay")) as one:
        deploy(one)
        store = one.store()
        for label in ("normal", "pneumonia"):
            for path in sorted((SAMPLE / label).glob("*.png"))[:IMAGES]:
                store.fput_object("syntrial", f"xrays/{label}/{path.name}", str(path))
        yield one


@pytest.fixture
def passing(images, tmp_path):
    """A namespace with a store, for one test; its Kubeflow had another before."""
    with space("syntrial-passing", tmp_path) as one:
        words = [f"--from-literal={key}={value}" for key, value in THEIRS.items()]
        one.kubectl("create", "configmap", "kfp-launcher", *words)
        deploy(one)
        yield one


# Manifests


KINDS = "statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,pvc"


def versions(where):
    """What changes with each object of a namespace, and with nothing else; Jobs are made anew each time."""
    found = [one["metadata"] | {"kind": one["kind"]} for one in lab.objects(KINDS, f"--namespace={where.name}")]
    return {(one["kind"], one["uid"]): one.get("generation", one["resourceVersion"]) for one in found}


def test_deploying_again_changes_nothing(ours):
    before, keys, minio = versions(ours), ours.keys(), ours.get("pod minio-0", ".metadata.uid")
    reported = deploy(ours).splitlines()
    assert "job.batch/syntrial-buckets created" in reported
    assert versions(ours) == before and len(before) > 10
    assert ours.keys() == keys and len(keys) == 2
    assert ours.get("pod minio-0", ".metadata.uid") == minio


@pytest.fixture(scope="module")
def pod_monitors():
    """The kind that the Prometheus operator would bring."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names, "versions": [version]}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    if lab.kubectl("get", "crd", POD_MONITORS, "--ignore-not-found"):
        yield
        return
    lab.kubectl("create", "--filename=-", stdin=json.dumps({**kind, "metadata": {"name": POD_MONITORS}}))
    lab.kubectl("wait", "crd", POD_MONITORS, "--for=condition=Established", f"--timeout={lab.PATIENCE_S}s")
    yield
    lab.kubectl("delete", "crd", POD_MONITORS)


@pytest.mark.parametrize("components", [(), ("monitoring",)], ids=["alone", "monitored"])
@pytest.mark.parametrize("shipped", ["kubeflow", "laptop"])
def test_the_api_server_takes_every_manifest_and_has_nothing_to_say_of_its_pods(
    shipped, components, pod_monitors, tmp_path
):
    with space("syntrial-dry", tmp_path, shipped, *components):
        rendered = script("render", tmp_path)
        assert rendered.returncode == 0, rendered.stderr
        apply = [lab.program(), "apply", "--dry-run=server", "--filename=-"]
        done = subprocess.run(apply, input=rendered.stdout, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(list(yaml.safe_load_all(rendered.stdout))) == 10 + 2 * len(components)


def test_the_namespace_really_refuses_a_pod_that_asks_for_more_rights(ours):
    rootful = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image_of("cli", lab.REGISTRY)}]}
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted'):
        ours.create("Pod", "rootful", rootful)


# The store


def test_there_are_buckets_and_checkpoints_do_not_pile_up(ours):
    assert {bucket.name for bucket in ours.store().list_buckets()} == {"mlpipeline", "syntrial"}
    (rule,) = ours.store().get_bucket_lifecycle("syntrial").rules
    assert (rule.status, rule.rule_filter.prefix, rule.expiration.days) == ("Enabled", "checkpoints/", 30)


def test_nobody_reads_the_store_without_its_keys(ours):
    address = ours.get("service minio", ".spec.clusterIP")
    with pytest.raises(S3Error, match="AccessDenied"):
        list(Minio(f"{address}:9000", secure=False).list_objects("syntrial"))


def test_data_outlive_the_stores_pod(ours):
    put(ours, b"older than this pod")
    before = ours.get("pod minio-0", ".metadata.uid")
    ours.kubectl("delete", "pod", "minio-0")
    ready(ours)
    assert ours.get("pod minio-0", ".metadata.uid") != before
    assert ours.read("syntrial", "data/note") == b"older than this pod"


def test_undeploying_leaves_data_and_keys_for_the_next_deploying(passing):
    keys = passing.keys()
    put(passing, b"older than this store")
    undeploy(passing)
    assert not passing.kubectl("get", "statefulsets,services,jobs,roles,networkpolicies", "--output=name")
    deploy(passing)
    assert passing.keys() == keys
    assert passing.read("syntrial", "data/note") == b"older than this store"


def test_undeploying_takes_data_and_keys_when_told(passing):
    assert passing.get("persistentvolumeclaim data-minio-0", ".status.phase") == "Bound"
    undeploy(passing, "delete")
    assert not passing.kubectl("get", "persistentvolumeclaims,secrets", "--output=name")


def test_undeploying_gives_kubeflow_the_store_back_that_it_had(passing):
    assert passing.get("configmap kfp-launcher", ".data.defaultPipelineRoot") == "minio://mlpipeline/v2/artifacts"
    deploy(passing)
    undeploy(passing)
    assert json.loads(passing.get("configmap kfp-launcher", ".data")) == THEIRS
    names = passing.kubectl("get", "configmaps", "--output=name").split()
    assert names == ["configmap/kfp-launcher", "configmap/kube-root-ca.crt"]


@pytest.mark.parametrize(
    "reported",
    [{"workflowDefaults": 'spec: {podSpecPatch: ""}\n\n'}, {"failedPodRestart": "enabled: true"}, {}],
    ids=["defaults", "restarts", "nothing"],
)
def test_undeploying_tells_argo_again_what_it_was_told_before(reported, passing):
    before = {"executor": "resources: {}\n", **reported}
    words = [f"--from-literal={key}={value}" for key, value in before.items()]
    passing.kubectl("create", "configmap", "workflow-controller-configmap", *words)
    for _ in range(2):
        deploy(passing)
        assert "'syntrial'" in passing.get("configmap workflow-controller-configmap", ".data.workflowDefaults")
    undeploy(passing)
    assert json.loads(passing.get("configmap workflow-controller-configmap", ".data")) == before
    assert "before-syntrial" not in passing.kubectl("get", "configmaps", "--output=name")


def put(where, content):
    (where.folder / "note").write_bytes(content)
    where.store().fput_object("syntrial", "data/note", str(where.folder / "note"))


def ready(where):
    """Waits until the store answers."""
    where.kubectl("rollout", "status", "statefulset/minio", f"--timeout={lab.PATIENCE_S}s")


# Images


@pytest.mark.parametrize("box", ["ingest", "train_generator"])
def test_a_box_runs_as_nobody_in_particular_and_may_do_nothing_but_run(box, ours):
    name = f"facts-{box.replace('_', '-')}"
    ours.run(name, pod(image_of(box, lab.REGISTRY), f"python3 -c '{FACTS}'"))
    assert json.loads(ours.finished(name)) == {
        "user": 65532,
        "groups": [65532, 65532],
        "capabilities": ["0" * 16] * 5,
        "new_privileges": False,
        "token": False,
        "writable": [],
        "torch": box == "train_generator",
        "pip": False,
    }


def test_a_light_box_works_on_images_from_the_store(ours):
    ours.run("ingest", pod(image_of("ingest", lab.REGISTRY), f"{INGEST}; cat /tmp/xrays/about.json"))
    log = ours.finished("ingest")
    assert json.loads(log[log.index("{") :])["classes"] == ["normal", "pneumonia"]
    assert f"accepted {2 * IMAGES}" in log.splitlines(), log


# Training


def training(name):
    """A pod that trains on images from the store, and keeps its checkpoints apart from those of the other tests."""
    places = {
        "SYNTRIAL_CHECKPOINT_URI": f"minio://syntrial/checkpoints/{name}",
        "SYNTRIAL_CHECKPOINT_EVERY_S": "0.5",
        "SYNTRIAL_PROGRESS": "/tmp/progress",
        "SYNTRIAL_DEVICE": "cpu",
    }
    return pod(image_of("train_generator", lab.REGISTRY), TRAINING, places)


@pytest.fixture(scope="module")
def uncut(ours):
    """What a training printed that nothing happened to."""
    ours.run("uncut", training("uncut"))
    return ours.finished("uncut")


def results(log):
    """Of each file that a training left, its hash."""
    return dict(reversed(found) for found in re.findall(r"^([0-9a-f]{64})  (\S+)$", log, re.MULTILINE))


def last_event(log):
    return json.loads(re.findall(r"^\{.*\}$", log, re.MULTILINE)[-1])


def images_found(log):
    """Images that the pods before the last had shown the networks: all, but those that it showed them itself."""
    end = last_event(log)
    return end["done"] - end["per_s"] * end["elapsed_s"]


def saved(where, name):
    """The newest checkpoint of a training in the store, as LATEST has it; {} before the first."""
    listed = where.store().list_objects("syntrial", f"checkpoints/{name}/", recursive=True)
    pointers = [one.object_name for one in listed if one.object_name.endswith("/LATEST")]
    return json.loads(where.read("syntrial", pointers[0])) if pointers else {}


def killed(where, name):
    first = where.pod(name)
    where.kubectl("exec", first, "--", *KILL)
    code = ".status.containerStatuses[0].state.terminated.exitCode"
    assert until(lambda: where.get(f"pod {first}", code), lambda: where.said_of(name)) == "137"


def deleted(where, name):
    where.kubectl("delete", "pod", where.pod(name), "--force", "--grace-period=0")


def drained(where, name):
    """As whoever empties a node does; the other pods stay on it, for there is no other node."""
    node = where.get(f"pod {where.pod(name)}", ".spec.nodeName")
    try:
        lab.kubectl("drain", node, f"--pod-selector=job-name={name}", "--delete-emptydir-data", "--grace-period=1")
    finally:
        lab.kubectl("uncordon", node)


@pytest.mark.parametrize("cut", [killed, deleted, drained], ids=["killed", "deleted", "drained"])
def test_a_training_that_is_cut_goes_on_from_the_store_and_ends_bit_equal(cut, ours, uncut):
    name = f"training-{cut.__name__}"
    ours.run(name, training(name), tries=3)
    pointer = until(lambda: saved(ours, name), lambda: ours.said_of(name))
    first = ours.pod(name)
    cut(ours, name)
    log = ours.finished(name)
    assert ours.pod(name) != first and not pointer["final"]
    assert re.search("train_generator simple/normal: goes on from [1-9]", log), log
    assert results(log) == results(uncut) and "generator.safetensors" in results(log)
    assert 8 * pointer["step"] - 2 <= images_found(log) < last_event(log)["total"]
    assert abs(images_found(uncut)) < 2


def test_a_training_outlives_a_store_that_stops_and_comes_back_in_its_middle(ours, uncut):
    ours.run("training-alone", training("training-alone"))
    until(lambda: saved(ours, "training-alone"), lambda: ours.said_of("training-alone"))
    ours.kubectl("scale", "statefulset/minio", "--replicas=0")
    try:
        said(ours, "training-alone", "checkpoints are in /tmp/.* only, from step")
    finally:
        ours.kubectl("scale", "statefulset/minio", "--replicas=1")
        ready(ours)
    log = ours.finished("training-alone")
    assert "checkpoints are mirrored again" in log
    assert results(log) == results(uncut)
    assert saved(ours, "training-alone") == saved(ours, "uncut") and saved(ours, "uncut")["final"]


def said(where, job, pattern):
    """Waits until a Job's pod has printed that."""
    return until(lambda: re.search(pattern, where.log(job)), lambda: where.said_of(job))


# GPUs


@contextlib.contextmanager
def node(name, *marks):
    """One more node, with one GPU, on which pods are placed and never run."""
    if not FAKE_NODE.exists():
        pytest.skip(f"NOT RUN, for want of a second node: {FAKE_NODE} would pretend one")
    try:
        subprocess.run([FAKE_NODE, name, "1", *marks], check=True, capture_output=True)
        yield name
    finally:
        subprocess.run([FAKE_NODE, "--delete", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def executors(tmp_path_factory):
    """For each box of a study, Kubeflow's settings of its container and of its pod."""
    uris = {"data": "minio://syntrial/xrays", "faces": "minio://syntrial/xrays", "external": ""}
    study = load_study(ROOT / "studies" / "smoke.yaml")
    made = compiled(study, load_place(ROOT / "k8s" / "place.yaml"), uris, tmp_path_factory.mktemp("compiled"))
    spec, platform = yaml.safe_load_all(made.path.read_text(encoding="utf-8"))
    reported = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    containers = {name: one["container"] for name, one in spec["deploymentSpec"]["executors"].items()}
    return {name.removeprefix("exec-"): (container, reported[name]) for name, container in containers.items()}


@pytest.fixture
def placing(cluster, tmp_path):
    """A namespace of pods that are only placed."""
    with space("syntrial-placing", tmp_path) as one:
        yield one


def as_placed(executor, **more):
    """A pod that is placed as Kubeflow places the box; what it would do does not matter."""
    container, reported = executor
    one = pod(image_of("cli", lab.REGISTRY), "true")
    accelerator = container["resources"].get("accelerator", {})
    if accelerator:
        one["containers"][0]["resources"]["limits"][accelerator["resourceType"]] = accelerator["resourceCount"]
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": reported.get("nodeAffinity", [])}}
    affinity = {"affinity": {"nodeAffinity": terms}} if "nodeAffinity" in reported else {}
    selector = reported.get("nodeSelector", {}).get("labels", {})
    account = {"serviceAccountName": "default"}
    return {
        **one,
        **account,
        **affinity,
        "nodeSelector": selector,
        "tolerations": reported.get("tolerations", []),
        **more,
    }


def where_it_is(space, name):
    """The node a pod was put on, or why on none."""
    condition = '.status.conditions[?(@.type=="PodScheduled")].message'
    return until(
        lambda: space.get(f"pod {name}", ".spec.nodeName") or space.get(f"pod {name}", condition),
        lambda: space.kubectl("describe", "pod", name),
    )


def test_training_waits_for_a_node_with_a_free_gpu_and_goes_nowhere_else(placing, executors):
    placing.create("Pod", "first", as_placed(executors["train-generator"]))
    assert "Insufficient nvidia.com/gpu" in where_it_is(placing, "first")
    with node("syntrial-gpus", "nvidia.com/gpu.present=true", "nvidia.com/gpu=present:NoSchedule") as gpus:
        until(lambda: placing.get("pod first", ".spec.nodeName") == gpus, lambda: where_it_is(placing, "first"))
        placing.create("Pod", "second", as_placed(executors["train-classifier"]))
        assert "Insufficient nvidia.com/gpu" in where_it_is(placing, "second")


def test_a_light_box_keeps_off_a_gpu_node_even_where_there_is_no_other(placing, executors):
    marks = ("syntrial.test/only=here", "nvidia.com/gpu.present=true", "syntrial.test/others=keep-off:NoSchedule")
    only = {
        "nodeSelector": {"syntrial.test/only": "here"},
        "tolerations": [{"key": "syntrial.test/others", "operator": "Exists"}],
    }
    with node("syntrial-light", *marks) as gpus:
        placing.create("Pod", "light", as_placed(executors["pool"], **only))
        assert "didn't match Pod's node affinity/selector" in where_it_is(placing, "light")
        lab.kubectl("label", "node", gpus, "nvidia.com/gpu.present-")  # the label alone kept it off
        until(lambda: placing.get("pod light", ".spec.nodeName") == gpus, lambda: where_it_is(placing, "light"))
