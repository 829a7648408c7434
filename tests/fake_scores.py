"""A finished study without training: made-up pooled image sets and folders of scores, in the form the verbs write."""

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syntrial.arms import PROTOCOLS, recipe_of
from syntrial.classifiers.settings import CnnConfig
from syntrial.config import StudyConfig
from syntrial.imageset import REAL, ImageSet, Row, Writer, sha256_of
from syntrial.reporting.outcomes import Outcome, gathered, refuse_unequal
from syntrial.reporting.results import Results, results_of
from syntrial.store import atomic

# How far an arm's classifier separates the classes on images of patients it has not seen, and on generated ones.
STRENGTH = {
    "original": 1.9,
    "conventional": 1.7,
    "simple_gan": 1.85,
    "transfer_gan": 1.4,
    "conventional_online": 2.4,
    "duplicates": 1.9,
}
GENERATED = 6.0
MACHINE = {
    "python": "3.12.1",
    "torch": "2.15.0",
    "numpy": "2.4.6",
    "pillow": "12.0.0",
    "device": "cpu",
    "threads": 2,
}

Pixels = Callable[[str, str, int], NDArray[np.uint8]]  # label, source, number -> (S, S)


def blobs(label: str, source: str, number: int, side: int = 32) -> NDArray[np.uint8]:
    """An image that differs from every other by its noise, and between labels by where it is bright."""
    rng = np.random.default_rng(int(hashlib.sha256(f"{label} {source} {number}".encode()).hexdigest()[:8], 16))
    rows, columns = np.mgrid[:side, :side] / side
    centre = 0.35 if label == "normal" else 0.65
    bright = np.exp(-((rows - 0.5) ** 2 + (columns - centre) ** 2) * 12)
    image: NDArray[np.uint8] = np.clip(200 * bright + rng.integers(0, 40, (side, side)), 0, 255).astype(np.uint8)
    return image


@dataclass
class Study:
    """The paths of a finished study, as arguments of the verb report."""

    study: StudyConfig
    folder: Path
    external: bool = True
    full_size: bool = True
    strengths: dict[str, float] = field(default_factory=dict)  # of arms that differ from STRENGTH
    patients: int = 40  # of each class
    pixels: Pixels = blobs

    def build(self) -> dict[str, Any]:
        """Writes it all; what `report` takes, but for `out`."""
        arguments: dict[str, Any] = {"study": self.study.model_dump()}
        for protocol in PROTOCOLS:
            images = self.pooled(protocol)
            arguments[f"{protocol}_images"] = images.folder
            arguments[protocol] = [self.arm(protocol, arm, images) for arm in self.study.arms]
        arguments["full_size"] = self.full(ImageSet.open(arguments["held_out_images"])) if self.full_size else None
        return arguments

    def pooled(self, protocol: str) -> ImageSet:
        """Two images a patient, some external ones, and images_per_class of each generator and class."""
        out = self.folder / protocol / "pooled"
        side = self.pixels(self.study.classes[0], REAL, 0).shape[0]
        lineage: dict[str, set[tuple[str, str]]] = {}
        with atomic.new_folder(out) as draft:
            writer = Writer(draft, side)
            for label in self.study.classes:
                for number in range(2 * self.patients):
                    self._add(writer, label, REAL, number, f"{label}-{number // 2:03d}", self._part(protocol, number))
                for number in range(1000, 1000 + (2 * self.patients if self.external else 0)):
                    self._add(writer, label, REAL, number, f"other-{label}-{number // 2}", "external")
            trained = {
                (row.sha256, row.group)
                for row in writer.rows
                if row.split in ("train", *(["val"] if protocol == "as_printed" else []))
            }
            for kind in ("simple", "transfer"):
                for label in self.study.classes:
                    name = f"{kind}/{label}"
                    lineage[name] = trained
                    for number in range(self.study.images_per_class):
                        validates = protocol == "as_printed" and number % 5 == 0
                        self._add(writer, label, name, number, "", "val" if validates else "train")
            writer.close(
                verb="pool",
                classes=self.study.classes,
                config={},
                parents=[],
                lineage=lineage,
                facts=self._facts(protocol, lineage),
            )
        return ImageSet.open(out)

    def arm(self, protocol: str, arm: str, images: ImageSet, folder: str = "", strength: float = 0.0) -> Path:
        """A folder of scores."""
        out = self.folder / protocol / (folder or recipe_of(arm)[0])
        seeds = self.study.seeds
        parts = ("val",) if protocol == "as_printed" else ("val", "test")
        rows = [
            (part, row)
            for part in (*parts, "external")
            for row in images.rows
            if row.split == part and self._sees(arm, row)
        ]
        strength = strength or self.strengths.get(arm, STRENGTH.get(arm, 1.8))
        with atomic.new_folder(out) as draft:
            judged = {seed: self._probabilities(rows, f"{protocol} {arm} {seed}", strength) for seed in seeds}
            self._write_predictions(draft / "predictions.csv", rows, judged)
            self._write_curves(draft / "curves.csv", protocol, arm)
            atomic.write_json(draft / "about.json", self._about(protocol, arm, images, rows))
        return out

    def full(self, images: ImageSet) -> Path:
        """Arm original at full size: the same patients, other pixels."""
        out = self.arm("held_out", "original", images, folder="full_size", strength=2.0)
        about = json.loads((out / "about.json").read_text())
        about |= {"side": self.study.resize_check.full_side}
        atomic.write_json(out / "about.json", about)
        return out

    def _part(self, protocol: str, number: int) -> str:
        if protocol == "as_printed":
            return "val" if number % 5 == 0 else "train"
        return ("train", "train", "val", "test", "test")[number // 2 % 5]

    def _add(self, writer: Writer, label: str, source: str, number: int, group: str, split: str) -> None:
        image = self.pixels(label, source, number)
        file = f"{label}/{number}.png" if source == REAL else ""
        writer.add(image, Row(sha256_of(image), label, group, source, split, file))

    def _sees(self, arm: str, row: Row) -> bool:
        return row.source == REAL or row.source.split("/")[0] == recipe_of(arm)[1].generator

    def _probabilities(self, rows: list[tuple[str, Row]], key: str, strength: float) -> list[list[float]]:
        classes = self.study.classes
        rng = np.random.default_rng(int(hashlib.sha256(key.encode()).hexdigest()[:8], 16))
        out = []
        for part, row in rows:
            own = np.random.default_rng(int(row.sha256[:8], 16)).normal(
                size=len(classes)
            )  # how hard the image is, to every arm
            reach = GENERATED if row.source != REAL else strength * (0.4 if part == "external" else 1.0)
            logit = 1.5 * own + 0.6 * rng.normal(size=len(classes)) + 2 * reach * (np.array(classes) == row.label)
            odds = np.exp(logit - logit.max())
            out.append([float(value) for value in odds / odds.sum()])
        return out

    def _write_predictions(self, path: Path, rows: list[tuple[str, Row]], judged: dict[int, list[list[float]]]) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(
                ["seed", "split", "sha256", "group", "label", "source", *(f"p_{label}" for label in self.study.classes)]
            )
            for seed, prob in judged.items():
                table.writerows(
                    [seed, part, row.sha256, row.group, row.label, row.source, *p]
                    for (part, row), p in zip(rows, prob, strict=True)
                )

    def _write_curves(self, path: Path, protocol: str, arm: str) -> None:
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            kinds = [f"{part}_{name}" for part in ("running", "train", "val") for name in ("accuracy", "loss")]
            table.writerow(["seed", "epoch", "step", *kinds])
            for seed in self.study.seeds:
                rng = np.random.default_rng([seed, len(arm), len(protocol)])
                for epoch in range(1, self.study.classifier.epochs + 1):
                    gap = 0.5 * np.exp(-epoch / 3)
                    row = [0.97 - gap, 0.07 + gap, 0.985 - gap, 0.05 + gap, 0.94 - gap, 0.17 + gap + 0.004 * epoch]
                    noise = 0.012 * rng.normal(size=6)
                    table.writerow(
                        [seed, epoch, 40 * epoch, *(float(value) for value in np.clip(row + noise, 0.001, None))]
                    )

    def _about(self, protocol: str, arm: str, images: ImageSet, rows: list[tuple[str, Row]]) -> dict[str, Any]:
        val = [row for part, row in rows if part == "val"]
        counts: dict[str, dict[str, int]] = {}
        for row in images.rows:
            if row.split and self._sees(arm, row):
                counts.setdefault(row.split, {}).setdefault(row.source, 0)
                counts[row.split][row.source] += 1
        epochs = self.study.classifier.epochs
        name, recipe = recipe_of(arm)
        synthetic = sum(row.source != REAL for row in val)
        return {
            "verb": "train_classifier",
            "protocol": protocol,
            "arm": name,
            "recipe": asdict(recipe),
            "classes": self.study.classes,
            "seeds": self.study.seeds,
            "side": self.study.side,
            "config": self.study.classifier.model_dump(),
            "conventional": self.study.conventional.model_dump(),
            "epochs": epochs if protocol == "as_printed" else epochs / (1.75 if recipe.add else 1),
            "steps": 40 * epochs,
            "parameters": 94_626,
            "train_images": sum(counts["train"].values()),
            "counts": counts,
            "validation": {
                "images": len(val),
                "synthetic": synthetic,
                "seen_by_generators": len(val) - synthetic if protocol == "as_printed" and recipe.generator else 0,
                "also_trained": 0,
                "groups_that_train": len({row.group for row in val}) if protocol == "as_printed" else 0,
            },
            "machine": MACHINE,
            "digest": hashlib.sha256(f"{protocol} {arm}".encode()).hexdigest(),
            "parents": [{"verb": "pool", "digest": images.digest}],
        }

    def _facts(self, protocol: str, lineage: dict[str, Any]) -> dict[str, Any]:
        total = 2 * self.patients * len(self.study.classes)
        configs = {"simple": self.study.generators.simple, "transfer": self.study.generators.transfer}
        return {
            "ingest": {
                "layout": "folders",
                "found": total + 7,
                "used": total,
                "accepted": total - 12,
                "converted": 12,
                "warned": 1,
                "rejected": 7,
                "reasons": {"not an image": 3, "exact duplicate": 2, "same pixels under two labels": 2},
                "groups": {"how": "pattern", "number": self.patients * len(self.study.classes)},
                "original_width": [64, 96.5, 128],
                "original_height": [64, 128.0, 128],
                "upsampled": 0,
                "warnings": ["2 images bear the same pixels under two labels; both are held back."],
            },
            "external": {
                "layout": "nih-chestxray14",
                "found": total,
                "used": total,
                "groups": {"how": "preset", "number": self.patients * 2},
            }
            if self.external
            else {},
            "division": {
                "protocol": protocol,
                "val_share": 0.2,
                "test_share": 0.2,
                "seed": 0,
                "groups": {
                    "train": 32,
                    "val": 16,
                    "test": 32,
                    **({"external": self.patients * len(self.study.classes)} if self.external else {}),
                },
            },
            "generators": {
                name: {
                    "kind": name.split("/")[0],
                    "label": name.split("/")[1],
                    "config": configs[name.split("/")[0]].model_dump(),
                    "real_images": len(seen) // 2,
                    "images_shown": len(seen) * 30,
                    "started_from": "faces/face" if name.startswith("transfer") else "",
                    "final": {"loss_g": 1.9, "loss_d": 0.8, "d_real": 0.71, "d_fake": 0.28},
                    "diversity": 0.81,
                    "machines": [MACHINE],
                }
                for name, seen in lineage.items()
            },
        }


def results_in(folder: Path, study: StudyConfig | None = None, **changes: Any) -> Results:
    """The results of a finished study in `folder`."""
    arguments = Study(study or small_study(), folder, **changes).build()
    whole = StudyConfig.of(arguments["study"])
    outcomes, images = outcomes_of(arguments), ImageSet.open(arguments["held_out_images"])
    refuse_unequal(outcomes["held_out"], images)
    pooled = {"as_printed": ImageSet.open(arguments["as_printed_images"]), "held_out": images}
    full_size = arguments["full_size"]
    return results_of(whole, outcomes, pooled, Outcome.open(full_size) if full_size else None)


def outcomes_of(arguments: dict[str, Any]) -> dict[str, dict[str, Outcome]]:
    """Protocol -> arm -> its outcome."""
    study = arguments["study"]
    arms = [recipe_of(arm)[0] for arm in study["arms"]]
    return {
        protocol: gathered([Outcome.open(one) for one in arguments[protocol]], protocol, arms, study["seeds"])
        for protocol in PROTOCOLS
    }


def edit_json(path: Path, **changes: Any) -> None:
    """Overwrites keys of a JSON file."""
    atomic.write_json(path, {**json.loads(path.read_text()), **changes})


def edit_rows(path: Path, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
    """Passes each row of a CSV file through `change`; a row for which it returns None is removed."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(changed for row in rows if (changed := change(row)) is not None)


def small_study(**changes: Any) -> StudyConfig:
    """A study with every arm, three seeds and few images."""
    classifier = CnnConfig(epochs=6, width=16).model_dump()
    settings = {
        "name": "fake",
        "side": 32,
        "images_per_class": 20,
        "classifier": classifier,
        "resize_check": {"full_side": 64},
    }
    return StudyConfig.of({**settings, "report": {"resamples": 400}, **changes})
