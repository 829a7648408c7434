"""Verb: a trained generator -> an image set of its images, with the lineage of the generator."""

from __future__ import annotations

from pathlib import Path

import torch

from syntrial.errors import ConfigError
from syntrial.generators.trained import ALL, TrainedGenerator
from syntrial.imageset import Row, Writer, about_parent, sha256_of
from syntrial.progress import Progress
from syntrial.store import atomic
from syntrial.training import machine
from syntrial.training.batches import as_grey

BATCH = 64  # images drawn at once; not a setting, because results depend on it
CARRIED = (  # facts about the generator that about.json of the images repeats
    "name",
    "protocol",
    "kind",
    "label",
    "config",
    "real_images",
    "images_shown",
    "steps",
    "started_from",
    "final",
    "diversity",
)


@torch.no_grad()
def synthesize(generator: str | Path, out: str | Path, *, count: int) -> dict[str, float]:
    """Draws `count` images of each class of the generator.

    The images depend only on the generator and its seed: the first 100 of 200 images are those of a draw of 100.

    Raises:
        ConfigError: a count below 1.
        DataError: the folder is not a trained generator.
    """
    if count < 1:
        raise ConfigError(f"images_per_class is {count}; it must be 1 or more")
    source, device = TrainedGenerator.open(generator), machine.device()
    about, seed, learner = source.about, source.config.seed, source.learner(device)
    labels = about["classes"] if about["label"] == ALL else [about["label"]]
    named = {key: about[key] for key in ("protocol", "kind", "label")}
    with atomic.new_folder(out) as draft, Progress("synthesize", count * len(labels), **named) as progress:
        writer = Writer(draft, about["side"])
        for number, label in enumerate(labels):
            for start in range(0, count, BATCH):
                machine.reseed(device, seed, about["name"], "draw", label, start)
                images = as_grey(learner.draw(torch.full((BATCH,), number))).cpu().numpy()
                for offset, image in enumerate(images[: count - start]):
                    name = f"{about['name']}/{label}-{start + offset:06d}"
                    writer.add(image, Row(sha256_of(image), label, about["name"], about["name"], "", name))
                progress.update(len(writer.rows))
        carried = {key: about[key] for key in CARRIED}
        writer.close(
            verb="synthesize",
            classes=about["classes"],
            config={"count": count},
            parents=[about_parent(about)],
            lineage={about["name"]: source.ancestors},
            facts={"generator": {**carried, "machines": machine.joined(about["machines"], device)}},
        )
    return {"images": float(len(writer.rows))}
