"""What every pod of a compiled study gets and does not get, by what the engine will read of it."""

import difflib
import json
import os
import re

import pytest
import yaml
from local_runs import ROOT

from pipelines.boxes import BOXES
from pipelines.cluster.package import compiled
from pipelines.cluster.place import BY_PROCESSORS, LONGEST_S, S3, Stage, load_place
from syntrial.config import load_study
from syntrial.errors import ConfigError

PLACE = ROOT / "k8s" / "place.yaml"
URIS = {"data": "minio://syntrial/data/xrays.zip", "faces": "minio://syntrial/data/faces.zip", "external": ""}
STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


def package(folder, study="smoke", place=None):
    """A compiled study: its specification, and the platform settings of each executor."""
    found = compiled(load_study(ROOT / "studies" / f"{study}.yaml"), place or load_place(PLACE), URIS, folder)
    spec, platform = yaml.safe_load_all(found.path.read_text(encoding="utf-8"))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return package(tmp_path_factory.mktemp("smoke"))


def boxes(packaged):
    """For each executor: the box's name, its container, and its platform settings."""
    spec, platform = packaged
    for name, executor in spec["deploymentSpec"]["executors"].items():
        image = executor["container"]["image"]
        yield re.search(r":(\w+)-", image)[1], executor["container"], platform[name]


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_compiles_to_its_golden_file(study, tmp_path):
    """That of the smoke study is whole; those of the others are their differences from it."""
    text = golden_text(study, tmp_path)
    if study != "smoke":
        text = differences(golden_text("smoke", tmp_path), text)
    golden = ROOT / "tests" / "golden" / ("smoke.yaml" if study == "smoke" else f"{study}.diff")
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8"), f"`make golden` writes {golden.name} anew; look at its diff"


def golden_text(study, folder):
    found = compiled(load_study(ROOT / "studies" / f"{study}.yaml"), load_place(PLACE), URIS, folder)
    return without_hashes(found.path.read_text("utf-8"))


def differences(before, after):
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "smoke.yaml", n=0, lineterm="")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def without_hashes(text):
    """The code's hashes move with every change of code, and are tested elsewhere."""
    return re.sub(r"(image: .*:\w+)-[0-9a-f]{16}", r"\1", text)


def test_only_training_boxes_ask_for_gpus(smoke):
    asking = {name for name, container, _ in boxes(smoke) if "accelerator" in container["resources"]}
    assert asking == {name for name in BOXES if BOXES[name].torch}


def test_light_boxes_keep_away_from_gpu_nodes(smoke):
    for name, _, platform in boxes(smoke):
        assert ("nodeAffinity" in platform) == (not BOXES[name].torch)
        assert ("tolerations" in platform) == BOXES[name].torch


def test_without_gpus_training_runs_on_any_node_and_asks_for_none(tmp_path):
    for _, container, platform in boxes(package(tmp_path, place=load_place(PLACE, gpus=0))):
        assert "accelerator" not in container["resources"]
        assert "SYNTRIAL_DEVICE" not in {one["name"] for one in container["env"]}
        assert "tolerations" not in platform and "nodeSelector" not in platform


def test_each_box_runs_in_the_image_of_its_stage(smoke):
    for name, container, _ in boxes(smoke):
        stage = "train" if BOXES[name].torch else "light"
        assert re.fullmatch(rf"localhost/syntrial-{stage}:{name}-[0-9a-f]{{16}}", container["image"])


def test_every_box_has_limits_and_an_end(smoke):
    for _, container, platform in boxes(smoke):
        limits = {"resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest"}
        assert limits <= set(container["resources"])
        assert int(platform["activeDeadlineSeconds"]) >= 60


def test_every_box_is_tried_again_without_the_engines_hour_of_patience(smoke):
    tasks = [
        task
        for component in [smoke[0]["root"], *smoke[0]["components"].values()]
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "executorLabel" in smoke[0]["components"][task["componentRef"]["name"]]
    ]
    assert len(tasks) >= 10
    for task in tasks:
        policy = task["retryPolicy"]
        assert int(policy["maxRetryCount"]) >= 3 and policy["backoffMaxDuration"] == LONGEST_S
        assert int(LONGEST_S[:-1]) > 101 * 30 * 86_400  # every try that a place may ask for, each a month long
        assert policy["backoffFactor"] == 1.0


def test_keys_come_by_reference_and_stand_nowhere(smoke):
    for name, container, platform in boxes(smoke):
        keys = {pair["envVar"] for secret in platform.get("secretAsEnv", []) for pair in secret["keyToEnv"]}
        own = {"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"} if BOXES[name].stores else set()
        assert keys == own | ({"SYNTRIAL_SALT"} if BOXES[name].reads else set())
        assert {one["name"] for one in container.get("env", [])} == {
            *BY_PROCESSORS,
            "OPENBLAS_NUM_THREADS",
            *(["SYNTRIAL_DEVICE"] if BOXES[name].torch else []),
        }


def test_keys_to_data_elsewhere_reach_the_boxes_that_read_them_alone(tmp_path):
    place = load_place(PLACE).model_copy(update={"data_secret": "elsewhere"})
    for name, _, platform in boxes(package(tmp_path, place=place)):
        found = [secret for secret in platform.get("secretAsEnv", []) if secret["secretName"] == "elsewhere"]
        assert [pair["envVar"] for secret in found for pair in secret["keyToEnv"]] == [
            *(S3 if BOXES[name].reads else [])
        ]


def test_nothing_counts_the_processors_of_a_node_that_a_box_may_not_use(smoke):
    for _, container, _ in boxes(smoke):
        reported = {one["name"]: one["value"] for one in container["env"]}
        assert {float(reported[name]) for name in BY_PROCESSORS} == {container["resources"]["cpuLimit"]}


def test_every_pod_bears_the_label_that_the_network_policy_selects(smoke):
    policy = yaml.safe_load((ROOT / "k8s" / "base" / "network.yaml").read_text(encoding="utf-8"))
    wanted = policy["spec"]["podSelector"]["matchLabels"]
    for _, _, platform in boxes(smoke):
        assert platform["podMetadata"]["labels"] == wanted


def test_no_box_runs_as_root_and_each_may_write_to_tmp(smoke):
    for _, _, platform in boxes(smoke):
        assert platform["securityContext"] == {"runAsNonRoot": True}
        assert {"mountPath": "/tmp", "volumeName": "tmp"} in platform["emptyDirMounts"]


def test_only_the_look_at_the_data_never_comes_from_the_cache(smoke):
    tasks = smoke[0]["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert {name for name in uncached if "dag" not in smoke[0]["components"][f"comp-{name}"]} == {"digest"}


def test_every_box_has_a_name_for_people_and_every_parameter_a_meaning(smoke):
    spec = smoke[0]
    for component in [spec["root"], *spec["components"].values()]:
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            loop = name.startswith("for-loop")
            assert loop or task["taskInfo"]["name"] != name or name in ("pool", "report"), name
    for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items():
        assert parameter.get("description"), name


def test_one_package_serves_every_number_and_class(tmp_path):
    study, place = load_study(ROOT / "studies" / "smoke.yaml"), load_place(PLACE)
    other = load_study(
        ROOT / "studies" / "smoke.yaml",
        ["classes=[a, b, c]", "side=32", "images_per_class=9", "seeds=[3]", "generators.simple.epochs=9"],
    )
    (tmp_path / "other").mkdir()
    one, two = compiled(study, place, URIS, tmp_path), compiled(other, place, URIS, tmp_path / "other")
    assert one.arguments != two.arguments
    assert one.code == two.code


def test_another_setting_is_another_version(tmp_path):
    place, versions = load_place(PLACE), set()
    for number, changes in enumerate(([], [], ["classifier.lr=0.5"], ["generators.simple.width=8"])):
        (tmp_path / str(number)).mkdir()
        study = load_study(ROOT / "studies" / "smoke.yaml", changes)
        versions.add(compiled(study, place, URIS, tmp_path / str(number)).code)
    assert len(versions) == 3


def test_the_defaults_of_the_parameters_are_the_studys(tmp_path):
    found = compiled(load_study(ROOT / "studies" / "smoke.yaml"), load_place(PLACE), URIS, tmp_path)
    spec = next(yaml.safe_load_all(found.path.read_text(encoding="utf-8")))
    for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items():
        assert parameter["defaultValue"] == json.loads(json.dumps(found.arguments))[name], name


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gpu: {count: 1}", "place.yaml: there is no 'gpu'; did you mean 'gpus'"),
        ("train: {memory: 8 GB}", "train.memory is '8 GB'"),
        ("gpus: {count: -1}", "gpus.count is -1"),
        ("gpus: 1", "gpus is 1"),
        ("gpus: {tolerations: [{key: gpu, operater: Exists}]}", "'operater'; did you mean 'operator'"),
        ("gpus: {tolerations: [{key: gpu, effect: NoSchedul}]}", "'NoSchedul'"),
        ("train: {cpu: 8}", "cpu is 8 and cpu_limit 2"),
        ("light: {cpu: 0.00005}", "light.cpu is 5e-05"),
        ("train: {cpu_limit: 1000000}", "train.cpu_limit is 1000000"),
        ("light: {memory: 0Mi}", "light.memory is '0Mi'; it has the form of '2Gi'"),
        ("gpus: {shared_memory: 100Gi}", "gpus.shared_memory is 100Gi and train.memory"),
        ("gpus: {tolerations: [{}]}", "give the taint's key"),
        ("gpus: {tolerations: [{key: gpu, operator: Exists, value: a}]}", "value is 'a', which only Equal uses"),
        ("gpus: {node_selector: {'bad key!': v}}", "bad key!"),
        ("gpus: {node_selector: {key: 'v v'}}", "gpus.node_selector.key is 'v v'; it needs letters"),
        ("gpus: {node_label: 'bad label!'}", "gpus.node_label is 'bad label!'"),
        ("gpus: {resource: ''}", "gpus.resource is ''"),
        ("service_account: Bad Name", "service_account is 'Bad Name'; it has the form of 'syntrial'"),
        ("store: ''", "store is ''"),
        ("data_secret: x y", "data_secret is 'x y'"),
        ("image_pull_secrets: ['']", "image_pull_secrets"),
        ("registry: https://r.example/x", "registry is 'https://r.example/x'"),
        ("- a", "holds a list; a place is settings by name"),
    ],
)
def test_a_mistake_in_a_place_is_one_sentence(text, sentence, tmp_path):
    path = tmp_path / "place.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence):
        load_place(path)


@pytest.mark.parametrize("cpu", [0.001, 0.25, 1, 10, 1024])
def test_cores_are_told_as_kubernetes_has_them(cpu, tmp_path):
    place = load_place("").model_copy(update={"light": Stage(cpu=cpu, cpu_limit=cpu)})
    spec, _ = package(tmp_path, place=place)
    asked = spec["deploymentSpec"]["executors"]["exec-digest"]["container"]["resources"]
    assert float(asked["resourceCpuRequest"]) == cpu and "e" not in asked["resourceCpuRequest"]


def test_a_place_that_is_not_there_says_where_one_is(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no place file .*k8s/place.yaml is one"):
        load_place(tmp_path / "nowhere.yaml")


def test_the_registry_of_the_environment_overrules_the_files(monkeypatch):
    monkeypatch.setenv("REGISTRY", "registry.example.org/us")
    assert load_place(PLACE).registry == "registry.example.org/us"
