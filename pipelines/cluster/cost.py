"""What a study will cost a cluster, before it runs there: pods, hours of GPUs, bytes through the object store.

Pods follow from the compiled package, images shown from the study, floating-point operations from one counted step. How
fast a GPU works through them is the place's word (gpus.tflops, gpus.step_ms), not a measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.cluster.containers import TRAINS
from pipelines.cluster.place import Gpus
from pipelines.cluster.workflow import value_of
from pipelines.counts import Counts
from pipelines.graph import kinds_of
from pipelines.local.watch import Planned
from pipelines.plan import PROTOCOLS, guessed, images_shown, planned
from syntrial.config import StudyConfig
from syntrial.training.checkpoint import EVERY_S

POD_S = 20.0  # a pod's way from asked for to learning, its image being there
WEIGHT_BYTES = 4
KEPT_BY_ADAM = 3  # a weight and its two moments


@dataclass(frozen=True)
class Networks:
    """Of a study's size: numbers kept, and floating-point operations of a step for each image."""

    generator: int  # on disk
    checkpoint: int  # of a generator's training
    classifier: int
    gan_flops: float
    cnn_flops: float


def pods(spec: dict[str, Any], arguments: dict[str, Any]) -> int:
    """Pods of a run without retries or cache: two for each box (its driver and itself), one for each graph within the
    graph, and one more for each turn of a loop.
    """
    return 1 + _pods(spec, spec["root"]["dag"]["tasks"], arguments)


def measured(study: StudyConfig) -> Networks:
    """Counts one step of each network on the CPU. Imports torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from syntrial import train_classifier, train_generator

    config, device = study.generators.simple, torch.device("cpu")
    generator = train_generator.begin(study.side, 0, config, "cost", device)
    learner = train_classifier.begin(len(study.classes), 0, study.classifier, device)
    image, label = torch.zeros(2, 1, study.side, study.side), torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as gan:
        generator.step([(image, label)], 0)
    with FlopCounterMode(display=False) as cnn:
        train_classifier.update(learner, image, label, None)
    classifier = sum(weight.numel() for weight in learner.network.parameters())
    kept, learning = _numbers(generator.parts()), _numbers(generator.state())
    return Networks(kept, learning, classifier, gan.get_total_flops() / 2, cnn.get_total_flops() / 2)


def _numbers(value: Any) -> int:
    """In all tensors of what can be nested."""
    if isinstance(value, dict | list | tuple):
        return sum(map(_numbers, value.values() if isinstance(value, dict) else value))
    return int(value.numel()) if hasattr(value, "numel") else 0


def gpu_hours(study: StudyConfig, boxes: list[Planned], networks: Networks, gpus: Gpus) -> float:
    """Of all training boxes; 0 where they run on CPUs."""
    return gpus.count * sum(_gpu_s(study, box, networks, gpus) for box in boxes if box.box in TRAINS) / 3600


def moved_bytes(
    study: StudyConfig, counts: Counts, boxes: list[Planned], networks: Networks, gpus: Gpus
) -> tuple[int, int]:
    """To and from the object store: what boxes hand on, and checkpoints."""
    up = down = 0
    for sent, received in _artifacts(study, counts, networks):
        up, down = up + sent, down + received
    for box in boxes:
        if box.box in ("train_generator", "train_classifier"):
            numbers = networks.classifier * KEPT_BY_ADAM if box.box == "train_classifier" else networks.checkpoint
            times = 1 + int(_gpu_s(study, box, networks, gpus) / EVERY_S)
            up += times * numbers * WEIGHT_BYTES
    return up, down


def _pods(spec: dict[str, Any], tasks: dict[str, Any], arguments: dict[str, Any]) -> int:
    total = 0
    for task in tasks.values():
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" not in component:
            total += 2
            continue
        given = {name: value_of(one, arguments) for name, one in task.get("inputs", {}).get("parameters", {}).items()}
        inside = 1 + _pods(spec, component["dag"]["tasks"], given)
        loop = task.get("parameterIterator")
        total += 1 + inside * len(given[loop["items"]["inputParameter"]]) if loop else inside
    return total


def _gpu_s(study: StudyConfig, box: Planned, networks: Networks, gpus: Gpus) -> float:
    flops, batch = networks.gan_flops, study.generators.simple.batch
    if box.box == "train_classifier":
        larger = float(box.labels["kind"].removesuffix("px")) / study.side
        flops, batch = networks.cnn_flops * larger**2, study.classifier.batch
    if box.box == "synthesize":
        flops = flops / 9  # a ninth: the generator's pass without the judge's, and without learning
    return POD_S + max(box.units * flops / (gpus.tflops * 1e12), box.units / batch * gpus.step_ms / 1e3)


def _artifacts(study: StudyConfig, counts: Counts, networks: Networks) -> Iterator[tuple[int, int]]:
    """Bytes that each box sends and receives."""
    image, full = study.side**2, study.resize_check.full_side**2
    real, kinds = (counts.total + counts.external) * image, kinds_of(study)
    faces = counts.faces * image if "transfer" in kinds else 0
    weights = networks.generator * WEIGHT_BYTES
    classifiers = networks.classifier * WEIGHT_BYTES * len(study.seeds)
    drawn = study.images_per_class * len(counts.classes) * image
    yield real + faces, 0
    yield (weights if faces else 0), faces
    for _ in PROTOCOLS:
        yield real, real
        for kind in kinds:
            learners = 1 if study.generators[kind].conditional else len(counts.classes)
            yield learners * weights, learners * (real + (weights if kind == "transfer" else 0))
            yield drawn, learners * weights
        pooled = real + drawn * len(kinds)
        yield pooled, pooled
        yield classifiers * len(study.arms), pooled * len(study.arms)
        yield 0, pooled + classifiers * len(study.arms)
    if full:
        large = counts.total * full
        yield 2 * large + classifiers, 2 * large


def told(study: StudyConfig, counts: Counts, spec: dict[str, Any], arguments: dict[str, Any], gpus: Gpus) -> list[str]:
    """The cost in sentences. Imports torch."""
    networks, boxes = measured(study), planned(study, counts, guessed(study))
    up, down = moved_bytes(study, counts, boxes, networks, gpus)
    asked = gpu_hours(study, boxes, networks, gpus)
    lines = [
        f"{len(boxes)} boxes to watch in {pods(spec, arguments)} pods, retries and what the cache serves apart",
        f"{images_shown(boxes, 'train_generator'):,} images shown to generators, "
        f"{images_shown(boxes, 'train_classifier'):,} to classifiers",
        f"about {up / 1e9:,.2f} GB to the object store, checkpoints included, and {down / 1e9:,.2f} GB from it",
    ]
    if gpus.count:
        lines.append(
            f"about {asked:,.1f} GPU hours if a GPU sustains {gpus.tflops:g}e12 operations a second and no step is "
            f"faster than {gpus.step_ms:g} ms (gpus.tflops and gpus.step_ms of the place; not measured here)"
        )
    return lines
