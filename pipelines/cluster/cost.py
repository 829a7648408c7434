"""Estimates the cost of a study on a cluster: pods, GPU hours, bytes to and from the object store.

The pods follow from the compiled package, the images shown from the study, the floating-point operations from one
counted step. The speed of a GPU is a setting of the place (gpus.tflops, gpus.step_ms), not a measurement.
"""

from __future__ import annotations

from typing import Any

from pipelines.boxes import BOXES, WEIGHT_BYTES, Known, Networks
from pipelines.cluster.place import Gpus
from pipelines.counts import Counts
from pipelines.tasks import Json, Task, expanded
from syntrial.config import StudyConfig
from syntrial.training.checkpoint import EVERY_S
from syntrial.words import counted

POD_S = 20.0  # from the creation of a pod to the first training step, with the image already on the node


def pods(spec: Json, arguments: Json) -> int:
    """Number of pods of a run without retries or cache: two per box (its driver and itself), one per nested graph, and
    one per iteration of a loop.
    """
    tasks = expanded(spec, arguments)
    return 2 * len(tasks) + len({graph for task in tasks for graph in task.graphs})


def measured(study: StudyConfig) -> Networks:
    """Counts the operations of one step of each network on the CPU. Imports torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from syntrial import train_classifier, train_generator

    config, device = study.generators.simple, torch.device("cpu")
    generator = train_generator.begin(study.side, 0, config, "cost", device)
    learner = train_classifier.begin(len(study.classes), 0, study.classifier, device)
    image, label = torch.zeros(2, 1, study.side, study.side), torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as gan:
        generator.step([(image, label)] * config.batches_per_step, 0)
    with FlopCounterMode(display=False) as cnn:
        train_classifier.update(learner, image, label, None)
    classifier = sum(weight.numel() for weight in learner.network.parameters())
    kept, learning = _numbers(generator.parts()), _numbers(generator.state())
    shown = len(image) * config.batches_per_step
    return Networks(kept, learning, classifier, gan.get_total_flops() / shown, cnn.get_total_flops() / len(image))


def _numbers(value: Any) -> int:
    """How many numbers the tensors of a nested value contain."""
    if isinstance(value, dict | list | tuple):
        return sum(map(_numbers, value.values() if isinstance(value, dict) else value))
    return int(value.numel()) if hasattr(value, "numel") else 0


def gpu_hours(tasks: list[Task], known: Known, networks: Networks, gpus: Gpus) -> float:
    """GPU hours of all boxes together; 0 where training runs on CPUs."""
    return gpus.count * sum(_gpu_s(task, known, networks, gpus) for task in tasks if BOXES[task.box].torch) / 3600


def moved_bytes(tasks: list[Task], known: Known, networks: Networks, gpus: Gpus) -> tuple[int, int]:
    """Bytes to and from the object store: outputs of boxes, and checkpoints."""
    sent: dict[str, int] = {}
    up = down = 0
    for task in tasks:
        box, received = BOXES[task.box], sum(sent[path] for path in task.needs)
        sent[task.path] = box.sends(task.facts, known, networks, received)
        up, down = up + sent[task.path], down + received
        if box.kept:
            times = 1 + int(_gpu_s(task, known, networks, gpus) / EVERY_S)
            up += times * box.kept(networks) * WEIGHT_BYTES
    return up, down


def images_shown(tasks: list[Task], known: Known, box: str) -> int:
    """Number of images that all boxes of a verb process."""
    return sum(BOXES[box].images(task.facts, known) for task in tasks if task.box == box)


def _gpu_s(task: Task, known: Known, networks: Networks, gpus: Gpus) -> float:
    box = BOXES[task.box]
    images, (flops, batch) = box.images(task.facts, known), box.step(task.facts, known, networks)
    return POD_S + max(images * flops / (gpus.tflops * 1e12), images / batch * gpus.step_ms / 1e3)


def summary(study: StudyConfig, counts: Counts, spec: Json, arguments: Json, gpus: Gpus) -> list[str]:
    """The cost in sentences. Imports torch."""
    networks, known, tasks = measured(study), Known(study, counts), expanded(spec, arguments)
    up, down = moved_bytes(tasks, known, networks, gpus)
    hours = gpu_hours(tasks, known, networks, gpus)
    lines = [
        f"{counted(len(tasks), 'box', 'boxes')} in {counted(pods(spec, arguments), 'pod')}, "
        "without retries and with an empty cache",
        f"{counted(images_shown(tasks, known, 'train_generator'), 'image')} shown to generators, "
        f"{images_shown(tasks, known, 'train_classifier'):,} to classifiers",
        f"about {up / 1e9:,.2f} GB to the object store, checkpoints included, and {down / 1e9:,.2f} GB from it",
    ]
    if gpus.count:
        lines.append(
            f"about {hours:,.1f} GPU hours if a GPU sustains {gpus.tflops:g}e12 operations a second and no step is "
            f"faster than {gpus.step_ms:g} ms (gpus.tflops and gpus.step_ms of the place; not measured here)"
        )
    return lines
