"""The plan of a run: its boxes in the order in which they can start, the images each processes, and the time each
takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from pipelines.boxes import BOXES, Known, Speed
from pipelines.counts import Counts
from pipelines.graph import arguments_of, graph
from pipelines.local.watch import AT_ONCE, Planned
from pipelines.tasks import Task, expanded, spec_of
from syntrial.config import StudyConfig
from syntrial.progress import name_of


def tasks_of(study: StudyConfig) -> list[Task]:
    """The boxes of a study's graph; they do not depend on the data."""
    return expanded(spec_of(graph(study)), arguments_of(study, data="", faces="", external=""))


def planned(study: StudyConfig, counts: Counts, speed: Speed) -> list[Planned]:
    """All boxes that report progress, each after the boxes it depends on."""
    tasks, known = {task.path: task for task in tasks_of(study)}, Known(study, counts)
    return [_planned(task, tasks, known, speed) for task in tasks.values() if BOXES[task.box].labels]


def _planned(task: Task, tasks: dict[str, Task], known: Known, speed: Speed) -> Planned:
    box = BOXES[task.box]
    return Planned(
        task.box,
        _labels(task),
        box.images(task.facts, known),
        box.seconds(task.facts, known, speed),
        _needs(task, tasks),
        box.start_s,
        task.in_loop,
    )


def _labels(task: Task) -> dict[str, str]:
    labels = BOXES[task.box].labels
    return labels(task.facts) if labels else {}


def _needs(task: Task, tasks: dict[str, Task]) -> tuple[str, ...]:
    """Names of the boxes that a box depends on. One that reports no progress is replaced by its own dependencies."""
    found: list[str] = []
    for need in map(tasks.__getitem__, task.needs):
        found += [name_of(need.box, _labels(need))] if BOXES[need.box].labels else _needs(need, tasks)
    return tuple(dict.fromkeys(found))


def images_shown(boxes: list[Planned], verb: str) -> int:
    """Number of images that all boxes of a verb process."""
    return sum(box.units for box in boxes if box.box == verb)


def box_threads() -> str:
    """Value of SYNTRIAL_THREADS for each box: that of the environment, else an equal share of the usable cores."""
    return os.environ.get("SYNTRIAL_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // AT_ONCE))


def measure(study: StudyConfig, seconds: float = 2.0) -> Speed:
    """Measures the training speed of the study's networks on random images, with the threads of one box.

    Takes about twice `seconds`, plus the import of torch.
    """
    import torch

    from syntrial import train_classifier, train_generator
    from syntrial.training import machine

    device = machine.device()
    torch.set_num_threads(int(box_threads()))
    config, classifier = study.generators.simple, study.classifier
    real = torch.rand(config.batch, 1, study.side, study.side, device=device) * 2 - 1
    label = torch.zeros(config.batch, dtype=torch.int64, device=device)
    generator = train_generator.begin(study.side, 0, config, "measure", device)
    gan = _rate(lambda: generator.step([(real, label)] * config.batches_per_step, 0), seconds)
    learner = train_classifier.begin(len(study.classes), 0, classifier, device)
    images = torch.rand(classifier.batch, 1, study.side, study.side, device=device) * 2 - 1
    labels = torch.zeros(classifier.batch, dtype=torch.int64, device=device)
    cnn = _rate(lambda: train_classifier.update(learner, images, labels, None), seconds)
    return Speed(gan * config.batch * config.batches_per_step, cnn * classifier.batch)


def guessed(study: StudyConfig) -> Speed:
    """Speeds estimated from an earlier measurement on a CPU core. They are corrected during the run by the time that
    boxes take.
    """
    gan, classifier = study.generators.simple, study.classifier
    return Speed(
        gan=350 * (64 / study.side) ** 2 / gan.relative_cost,
        cnn=850 * (64 / study.side) ** 2 * (16 / getattr(classifier, "width", 16)),
    )


def _rate(step: Callable[[], object], seconds: float) -> float:
    """Steps per second; the first step is not counted."""
    step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - began)
