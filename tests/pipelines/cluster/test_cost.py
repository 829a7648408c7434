"""What a study costs a cluster, against counts made by hand."""

from dataclasses import replace

import pytest
import yaml
from local_runs import ROOT

from pipelines.boxes import BOXES, Known, Networks
from pipelines.cluster.cost import POD_S, gpu_hours, measured, moved_bytes, pods
from pipelines.cluster.package import compiled
from pipelines.cluster.place import Gpus, load_place
from pipelines.counts import Counts
from pipelines.plan import tasks_of
from syntrial.config import load_study

PLACE = ROOT / "k8s" / "place.yaml"
URIS = {"data": "minio://syntrial/data/xrays.zip", "faces": "minio://syntrial/data/faces.zip", "external": ""}
SMOKE = ROOT / "studies" / "smoke.yaml"
COUNTS = Counts({"normal": 100, "pneumonia": 100}, faces=50)
NETWORKS = Networks(generator=1500, checkpoint=5400, classifier=300, gan_flops=9e9, cnn_flops=3e9)
ENDLESS = Gpus(tflops=1e9, step_ms=1e-9)  # GPUs on which only starting takes time


def counted(tmp_path, *changes):
    found = compiled(load_study(SMOKE, list(changes)), load_place(PLACE), URIS, tmp_path)
    return pods(next(yaml.safe_load_all(found.path.read_text(encoding="utf-8"))), found.arguments)


def test_pods_are_two_a_box_and_one_for_each_graph_and_turn(tmp_path):
    trial = 2 + 2 * 2 + 2 * 2 + 6  # divide and pool; train and draw for two classes, twice; arms
    turns = (1 + 2) + (1 + 2) + (1 + 6)  # two loops over classes, one over arms
    beside = 10  # settled study, digest, four sets, full size's division and training, faces' generator, report
    assert counted(tmp_path) == 1 + 2 * (beside + 2 * trial) + 2 * (1 + turns)


def test_another_class_costs_its_own_pods_only(tmp_path):
    (tmp_path / "three").mkdir()
    before, after = counted(tmp_path), counted(tmp_path / "three", "classes=[a, b, c]")
    assert after - before == 2 * 2 * (2 * 2 + 1)  # protocols x kinds x (train and draw, each with a driver; a turn)


def boxes(*changes):
    study = load_study(SMOKE, list(changes))
    return study, tasks_of(study), Known(study, COUNTS)


def test_hours_of_gpus_follow_operations_and_rate():
    _, tasks, known = boxes()
    starts = sum(BOXES[task.box].torch for task in tasks)
    idle = gpu_hours(tasks, known, NETWORKS, ENDLESS)
    assert idle == pytest.approx(starts * POD_S / 3600)
    slow, slower = (gpu_hours(tasks, known, NETWORKS, Gpus(tflops=rate, step_ms=1e-9)) for rate in (1, 0.5))
    assert slower - idle == pytest.approx(2 * (slow - idle))
    assert gpu_hours(tasks, known, NETWORKS, replace_count(Gpus(tflops=1), 2)) > slow


def replace_count(gpus, count):
    return gpus.model_copy(update={"count": count})


def test_without_gpus_no_hour_of_one_is_spent():
    _, tasks, known = boxes()
    assert gpu_hours(tasks, known, NETWORKS, Gpus(count=0)) == 0


def test_bytes_grow_with_images_and_with_weights():
    study, tasks, known = boxes()
    up, down = moved_bytes(tasks, known, NETWORKS, ENDLESS)
    twice = Counts({label: 2 * count for label, count in COUNTS.classes.items()}, faces=2 * COUNTS.faces)
    more_up, more_down = moved_bytes(tasks, Known(study, twice), NETWORKS, ENDLESS)
    real = COUNTS.total * study.side**2
    assert more_up - up == (1 + 2 * 2) * real + COUNTS.faces * study.side**2 + 2 * COUNTS.total * 64**2
    assert more_down > down
    heavy = replace(NETWORKS, generator=9_000, checkpoint=32_400)
    assert moved_bytes(tasks, known, heavy, ENDLESS)[0] > up


def test_a_step_is_counted_as_torch_counts_it():
    found = measured(load_study(SMOKE))
    larger = measured(load_study(SMOKE, ["side=64", "resize_check.full_side=128"]))
    assert found.gan_flops > 0 and larger.cnn_flops == pytest.approx(4 * found.cnn_flops, rel=0.2)
    assert found.generator == 9819 and larger.generator > found.generator


def test_a_step_with_more_updates_of_the_discriminator_shows_more_images():
    once, thrice = (measured(load_study(SMOKE, [f"generators.all.discriminator_steps={steps}"])) for steps in (1, 3))
    # Three updates of the discriminator for three images, and one of the generator, which costs for one image.
    assert once.gan_flops / 3 < thrice.gan_flops < once.gan_flops


def test_a_generator_with_larger_networks_costs_more_than_the_one_that_is_measured():
    wide = "generators={simple: {width: 4}, wide: {width: 16}}"
    arms = "arms=[original, simple_gan, 'wide_gan: add=wide']"
    _, tasks, known = boxes(wide, arms)
    hours = {
        kind: gpu_hours([task for task in tasks if task.facts.get("kind") == kind], known, NETWORKS, Gpus(step_ms=1e-9))
        for kind in ("simple", "wide")
    }
    assert hours["wide"] > hours["simple"]
