"""The study on a real Kubeflow Pipelines, through the commands that a person gives."""

import json
import re
import time
from collections import defaultdict
from datetime import datetime
from statistics import median

import lab
import local_runs
import pytest
import yaml
from kfp import dsl
from kfp.compiler import Compiler
from kubeflow_runs import NAMESPACE, PLACE, Run, known, look_at, wait_for
from local_runs import SMOKE, TINY, settings

from components.digest import digest
from pipelines.cluster.containers import image_of
from pipelines.cluster.place import Place, placed

STUDY = ("--study", SMOKE)
# Makes every box new to a cache that other sessions have filled, and changes no number.
FRESH = settings(f"ingest.max_pixels={100_000_000 + int(time.time()) % 100_000_000}")
HERE = {"SYNTRIAL_THREADS": "1", "SYNTRIAL_DEVICE": "cpu"}  # as in the pods
KILLED = settings(
    "name=killed",
    "arms=[original, simple_gan]",
    "images_per_class=5",
    "generators.simple={epochs: 120, conditional: true}",  # so that there is time to kill it
    "resize_check.full_side=0",
)
TWENTIETH = "twentieth: add=simple dose=0.05 title='a twentieth more'"
ALL_CLASSES_AND_A_DOSE = settings(
    "name=conditional",
    f'arms=[original, simple_gan, "{TWENTIETH}"]',
    "generators.simple.conditional=true",
    "resize_check.full_side=0",
)
IN_NAMESPACE = ("--namespace", NAMESPACE)


@pytest.fixture(scope="module")
def smoke(kubeflow):
    """The smoke study's run."""
    return kubeflow.submit(*STUDY, *FRESH)


@pytest.fixture(scope="module")
def smoke_here(tmp_path_factory):
    """The same study on this machine."""
    return local_runs.run(tmp_path_factory.mktemp("here"), *FRESH, **HERE)


def leaves(value, path=""):
    """Path -> value of all that a JSON document holds, but for the Python that it was made with."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {name: one for key, inner in inside for name, one in leaves(inner, f"{path}/{key}").items()}
    return {name: one for name, one in (found or {path: value}).items() if not name.endswith("/python")}


def results(folder):
    """What a report says, for comparisons."""
    found = leaves(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    return {name: pytest.approx(one, rel=1e-9) if isinstance(one, float) else one for name, one in found.items()}


def test_the_smoke_study_succeeds_and_ends_in_the_table_that_it_has_on_this_machine(
    kubeflow, smoke, smoke_here, tmp_path
):
    assert smoke.done.returncode == 0, smoke.done.stderr
    assert "D4 original + transfer GAN" in smoke.done.stdout
    assert smoke_here.done.stdout.startswith(smoke.done.stdout)
    kubeflow.pipelines("status", smoke.name, "--report", tmp_path)
    assert (tmp_path / "table.md").read_bytes() == (smoke_here.folder / "table.md").read_bytes()
    assert results(tmp_path) == results(smoke_here.folder)


def test_its_pods_are_as_many_as_were_announced(kubeflow, smoke):
    said = kubeflow.pipelines("submit", *STUDY, *FRESH, *kubeflow.here, "--dry-run").stdout
    assert len(smoke.pods) == int(re.search(r"boxes in (\d+) pods", said)[1])


def test_they_run_under_our_account_which_lacks_no_right(kubeflow, smoke):
    assert {pod["spec"]["serviceAccountName"] for pod in smoke.pods} == {"syntrial"}
    logs = kubeflow.logs(smoke)
    assert len(logs) == len(smoke.pods)
    assert not [key for key, text in logs.items() if b"forbidden" in text.lower()]


def test_its_containers_may_do_nothing_that_they_need_not(smoke):
    found = [one for pod in smoke.pods for kind in ("initContainers", "containers") for one in pod["spec"][kind]]
    assert {one["name"] for one in found} == {"init", "kfp-launcher", "main", "wait"}
    assert sum("/syntrial-" in one["image"] for one in found) == len(smoke.look.boxes)
    for one in found:
        context = one["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True), one["name"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsNonRoot"] and context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_no_key_is_in_the_package_the_workflow_the_pods_the_logs_or_the_artifacts(kubeflow, smoke, tmp_path):
    kubeflow.pipelines("compile", *STUDY, *FRESH, *kubeflow.here, "--output", tmp_path / "smoke.yaml")
    workflow = lab.kubectl("get", "workflow", smoke.workflow, *IN_NAMESPACE, "--output=json").encode()
    package, pods = (tmp_path / "smoke.yaml").read_bytes(), json.dumps(smoke.pods).encode()
    assert all(b"syntrial-store" in text for text in (package, workflow, pods))
    artifacts = kubeflow.contents("mlpipeline", f"v2/artifacts/syntrial/{smoke.look.run['run_id']}")
    assert len(artifacts) > len(smoke.look.boxes)
    shown = {"package": package, "workflow": workflow, "pods": pods, **artifacts, **kubeflow.logs(smoke)}
    keys = [key.encode() for key in (kubeflow.access, kubeflow.secret)]
    assert not [name for name, content in shown.items() if any(key in content for key in keys)]


def test_submitted_again_only_the_look_at_the_data_runs(kubeflow, smoke):
    again = kubeflow.submit(*STUDY, *FRESH)
    assert (again.done.returncode, again.done.stdout) == (0, smoke.done.stdout), again.done.stderr
    assert [box.name for box in again.look.boxes if box.state != "cached"] == ["look at the data"]


def test_one_generator_of_all_classes_and_an_arm_that_is_written_out_run_there_too(kubeflow, tmp_path):
    words = (*ALL_CLASSES_AND_A_DOSE, *FRESH)
    run = kubeflow.submit(*STUDY, *words)
    assert run.done.returncode == 0, run.done.stderr
    names = [box.name for box in run.look.boxes]
    for protocol in ("as printed", "held out"):
        assert f"{protocol} / simple generators / * / train simple generator" in names
        assert f"{protocol} / arms / {TWENTIETH} / train classifier" in names
    kubeflow.pipelines("status", run.name, "--report", tmp_path / "report")
    assert results(tmp_path / "report") == results(local_runs.run(tmp_path / "here", *words, **HERE).folder)


def test_a_mistake_that_is_turned_in_the_dashboard_ends_the_run_in_one_sentence_before_anything_is_read(kubeflow):
    like = kubeflow.begin(*STUDY, *TINY, *FRESH).look.run
    turned = {**like["runtime_config"]["parameters"], "arms": ["original", "nonsense"]}
    name = f"mistaken-{kubeflow.access}"
    kept = ("experiment_id", "pipeline_version_reference", "service_account")
    body = {key: like[key] for key in kept} | {"display_name": name, "runtime_config": {"parameters": turned}}
    known().kubeflow.ask("POST", "/apis/v2beta1/runs", body)  # as its form does
    kubeflow.pipelines("cancel", like["run_id"])
    wait_for(lambda: look_at(name).is_over)
    states = {box.name: box.state for box in look_at(name).boxes}
    assert states.pop("settle the study") == "failed"
    assert set(states.values()) <= {"waiting", "left out"}
    told = kubeflow.pipelines("status", name).stderr
    assert "there is no arm 'nonsense'; there are original, " in told and "Traceback" not in told


def test_a_box_that_fails_is_named_with_its_reason_even_when_its_pod_is_gone(kubeflow, tmp_path):
    for label in ("normal", "pneumonia"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_text(f"no picture {FRESH}", encoding="utf-8")
    run = kubeflow.submit(*STUDY, *TINY, "--data", tmp_path)
    (reported,) = (line for line in run.done.stderr.splitlines() if line.startswith("ingest images failed"))
    assert run.done.returncode == 1
    assert "no usable image" in reported
    lab.kubectl("delete", "pods", *IN_NAMESPACE, run.selector)
    assert reported in kubeflow.pipelines("status", run.name).stderr


def test_training_that_is_killed_or_evicted_goes_on_from_its_checkpoint(kubeflow, tmp_path):
    before = kept(kubeflow)
    run = kubeflow.begin(*STUDY, *KILLED, *FRESH)
    killed, evicted = wait_for(lambda: learning(run, len(kept(kubeflow) - before)), run.reported)
    lab.kubectl("exec", killed.pod, *IN_NAMESPACE, "--container=main", "--", "sh", "-c", "kill -KILL -1", check=False)
    evict(evicted.pod)
    look = run.ended()
    again = {box.name: box for box in look.boxes}
    assert (look.state, again[killed.name].tries) == ("SUCCEEDED", 2), run.reported()
    for box in (killed, evicted):  # a pod that is lost in its first seconds is made anew without a second try
        assert ": goes on from " in run.log(again[box.name])
    kubeflow.pipelines("status", run.name, "--report", tmp_path / "report")
    uncut = local_runs.run(tmp_path / "here", *KILLED, *FRESH, **HERE)
    assert results(tmp_path / "report") == results(uncut.folder)


def test_a_run_that_failed_goes_on_from_its_checkpoint_when_it_is_retried_in_the_dashboard(kubeflow, tmp_path):
    once = {**PLACE, "train": {**PLACE["train"], "retries": 0}}
    (tmp_path / "place.yaml").write_text(json.dumps(once), encoding="utf-8")
    before = kept(kubeflow)
    words = (
        *STUDY,
        *KILLED,
        *FRESH,
        *settings("generators.simple.epochs=110"),
        "--gpus",
        "0",
    )  # no other test's training
    run = Run(kubeflow.pipelines("submit", *words, "--place", tmp_path / "place.yaml"))
    killed, _ = wait_for(lambda: learning(run, len(kept(kubeflow) - before)), run.reported)
    lab.kubectl("exec", killed.pod, *IN_NAMESPACE, "--container=main", "--", "sh", "-c", "kill -KILL -1", check=False)
    assert run.ended().state == "FAILED"
    known().kubeflow.ask("POST", f"/apis/v2beta1/runs/{run.look.run['run_id']}:retry")  # as its button does
    wait_for(lambda: not run.look.is_over, run.reported)
    look = run.ended()
    assert look.state == "SUCCEEDED", run.reported()
    (again,) = (box for box in look.boxes if box.name == killed.name)
    assert ": goes on from " in run.log(again)


def evict(pod):
    """As a drained node does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    at = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    lab.kubectl("create", "--raw", at, "--filename=-", stdin=json.dumps(eviction))


def test_a_driver_that_loses_its_pod_is_tried_again(kubeflow):
    words = (*STUDY, *TINY, *FRESH, *settings("ingest.min_side=30"))  # no other test's boxes are in the cache
    run = kubeflow.begin(*words)
    lost = wait_for(lambda: driver_lost(run), run.reported)
    look = run.ended()
    assert look.state == "SUCCEEDED", run.reported()
    tries = [node for node in look.workflow["status"]["nodes"].values() if node["name"][:-3] == lost[:-3]]
    assert sorted(node["phase"] for node in tries) == ["Error", "Succeeded"]


def driver_lost(run):
    """The name of a driver whose pod was taken from it, once that has happened: it lives for seconds only."""
    if not run.look.workflow:
        return ""
    running = (*IN_NAMESPACE, run.selector, "--field-selector=status.phase=Running", "--output=name")
    for pod in lab.kubectl("get", "pods", *running).split():
        if "-driver-" in pod:
            lab.kubectl("delete", pod, *IN_NAMESPACE, "--force", "--grace-period=0", check=False)
    nodes = run.look.workflow["status"].get("nodes", {}).values()
    return next((node["name"] for node in nodes if node["type"] == "Pod" and node["phase"] == "Error"), "")


def kept(kubeflow):
    """All trainings that have kept something of what they learned."""
    return {key for key in kubeflow.keys("syntrial", kubeflow.checkpoints) if key.endswith("LATEST")}


def learning(run, keeping):
    """The boxes that train generators, once all of them do so and as many have kept something of it."""
    boxes = [box for box in run.look.boxes if box.name.endswith("train simple generator")]
    return boxes if len(boxes) == keeping and {box.state for box in boxes} == {"running"} else []


@dsl.component(base_image=image_of("digest", lab.REGISTRY), install_kfp_package=False)
def empty(turn: int):
    """Nothing."""


@dsl.pipeline(name="overhead")
def by_turns():
    """One empty task and one box of ours at a time, none of them from the cache."""
    before = []
    put = placed(Place.of(PLACE, gpus={"count": 0}, registry=lab.REGISTRY))
    for turn in range(4):
        for task in (empty(turn=turn), digest(data="", faces="", external="")):
            task.after(*before).set_caching_options(False)
            before = [task]
        put(task)


def test_a_box_costs_about_what_an_empty_task_does(kubeflow, tmp_path):
    Compiler().compile(by_turns, str(tmp_path / "overhead.yaml"))
    spec, platform = yaml.safe_load_all((tmp_path / "overhead.yaml").read_text(encoding="utf-8"))
    runs = known()
    body = {
        "display_name": "overhead",
        "experiment_id": runs.kubeflow.experiment("overhead", create=True),
        "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform},
        "service_account": "syntrial",
    }
    begun = runs.kubeflow.ask("POST", "/apis/v2beta1/runs", body)["run_id"]
    wait_for(lambda: runs.look(begun).is_over)
    took_s = {"empty": [], "digest": []}
    for (name, _), nodes in by_task(runs.look(begun).workflow).items():
        began, ended = min(node["startedAt"] for node in nodes), max(node["finishedAt"] for node in nodes)
        took_s[name].append((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())
    print(took_s)
    assert [len(times) for times in took_s.values()] == [4, 4]
    assert median(took_s["digest"]) <= 1.5 * median(took_s["empty"])


def by_task(workflow):
    """The pods of each task: its driver and itself."""
    found = defaultdict(list)
    for node in workflow["status"]["nodes"].values():
        task = re.search(r"[.](empty|digest)(-[0-9]+)?(-driver)?[.(]", node["name"] + ".")
        if task and node["type"] == "Pod":
            found[task[1], task[2]].append(node)
    return found


def test_a_run_that_is_canceled_ends_with_its_pods(kubeflow):
    run = kubeflow.begin(*STUDY, *TINY, *FRESH)
    wait_for(lambda: any(box.state == "running" for box in run.look.boxes), run.reported)
    assert kubeflow.pipelines("cancel", run.name).returncode == 0
    run.ended()
    wait_for(lambda: {pod["status"]["phase"] for pod in run.pods} <= {"Succeeded", "Failed"}, run.reported)
    assert f"run {run.name} canceled" in kubeflow.pipelines("status", run.name).stderr


@pytest.fixture
def schedule(kubeflow):
    """The words for a schedule of the tests' own, of which nothing stays; its runs have an experiment of its name."""
    name = f"every-minute-{kubeflow.access}"
    cron = ("--name", name, "--experiment", name, "--cron", "0 * * * * *")
    yield name, ("schedule", *STUDY, *TINY, *kubeflow.here, *cron)
    kubeflow.pipelines("schedule", "--remove", name)


def test_a_schedule_fires_and_can_be_kept_paused_and_removed(kubeflow, schedule):
    name, words = schedule
    assert "new, next " in kubeflow.pipelines(*words).stderr
    assert "unchanged, next " in kubeflow.pipelines(*words).stderr
    run_id = wait_for(lambda: begun_in(kubeflow, name))
    assert kubeflow.pipelines("schedule", "--pause", name).returncode == 0
    assert re.search(f"^{name} .* paused", kubeflow.pipelines("schedule", "--list").stdout, re.MULTILINE)
    wait_for(lambda: look_at(run_id).is_over)
    assert look_at(run_id).state == "SUCCEEDED"
    assert kubeflow.pipelines("schedule", "--remove", name).returncode == 0
    assert name not in kubeflow.pipelines("schedule", "--list").stdout


def begun_in(kubeflow, experiment):
    """How the id of an experiment's run begins; "" before there is one."""
    rows = kubeflow.pipelines("status", "--experiment", experiment).stdout.splitlines()[1:]
    return rows[0].split()[0] if rows else ""


def test_artifacts_that_were_deleted_are_missed_and_made_anew_when_told(kubeflow):
    words = (*STUDY, *TINY, *FRESH, *settings("ingest.min_side=31"))  # no other test's boxes are in the cache
    first = kubeflow.submit(*words)
    assert first.done.returncode == 0, first.done.stderr
    assert {box.state for box in first.look.boxes} == {"done"}, first.reported()
    kubeflow.delete("mlpipeline", f"v2/artifacts/syntrial/{first.look.run['run_id']}")
    other = (*words, *settings("split.seed=5"))
    missed = kubeflow.submit(*other)
    assert missed.done.returncode == 1
    assert "is not an image set: it lacks about.json" in missed.done.stderr
    anew = kubeflow.submit(*other, "--fresh")
    assert anew.done.returncode == 0, anew.done.stderr
    # What the study says lies in no store: its box has no artifact that could have been deleted.
    assert [box.name for box in anew.look.boxes if box.state == "cached"] == ["settle the study"]
