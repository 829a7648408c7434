"""A trained generator on disk: its parts as safetensors, its description, and the real images it was trained on."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from syntrial.errors import ConfigError, DataError
from syntrial.generators.seam import Learner, Parts, learner_of
from syntrial.generators.settings import GeneratorConfig, generator_config
from syntrial.imageset import Lineage, read_lineage, write_lineage
from syntrial.store import atomic

ALL = "*"  # in place of a class: one conditional generator of all classes


@dataclass(frozen=True)
class TrainedGenerator:
    """A folder with a file PART.safetensors per part, about.json, lineage.csv, curves.csv and samples.png."""

    folder: Path
    about: dict[str, Any]
    ancestors: set[tuple[str, str]]  # (sha256, group) of the real images it was trained on, those of its start included

    @classmethod
    def open(cls, folder: str | Path) -> TrainedGenerator:
        """Opens a folder. Raises DataError if it is not a complete trained generator."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            ancestors = read_lineage(folder / "lineage.csv")[about["name"]]
            unchanged = about["digest"] == _digest(folder, about)
        except FileNotFoundError as error:
            raise DataError(f"{folder} is not a trained generator: it lacks {Path(error.filename).name}") from None
        except KeyError as error:
            raise DataError(f"{folder} is not a trained generator: its files state no {error}") from None
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{folder} is not a trained generator: {error}") from None
        if not unchanged:
            raise DataError(f"{folder} was changed after it was written: its files do not fit the digest in about.json")
        return cls(folder, about, ancestors)

    @staticmethod
    def write(draft: Path, about: dict[str, Any], parts: Parts, lineage: Lineage) -> None:
        """Writes a generator to a draft folder; about.json comes last, with the digest of everything in the folder."""
        for part, weights in parts.items():
            content = save({name: value.contiguous().cpu() for name, value in weights.items()})
            (draft / f"{part}.safetensors").write_bytes(content)
        write_lineage(draft / "lineage.csv", lineage)
        about = {**about, "parts": list(parts)}
        atomic.write_json(draft / "about.json", {**about, "digest": _digest(draft, about)})

    @property
    def digest(self) -> str:
        """Hash of all weights, of the rest of about.json and of the lineage."""
        return str(self.about["digest"])

    @property
    def config(self) -> GeneratorConfig:
        """The settings of its training. Raises ConfigError if its architecture is unknown."""
        return generator_config(self.about["config"])

    @property
    def classes(self) -> int:
        """Number of classes of a conditional generator; 0 for an unconditional one."""
        return len(self.about["classes"]) if self.about["label"] == ALL else 0

    def parts(self) -> Parts:
        """Its weights."""
        return {part: load_file(self.folder / f"{part}.safetensors") for part in self.about["parts"]}

    def learner(self, device: torch.device) -> Learner:
        """The generator, ready to draw."""
        config = self.config
        return learner_of(config).begin(self.about["side"], self.classes, config, device, self.parts())

    def continued(self, side: int, classes: int, config: GeneratorConfig, device: torch.device) -> Learner:
        """A learner that continues this generator.

        Raises:
            ConfigError: they differ in side, or in a setting that must be the same.
        """
        theirs, names = self.config, config.shared_with_start
        refused = f"{self.about['name']} cannot be continued here: "
        must = f"side, {', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]} must be the same"
        pairs = [("side", self.about["side"], side)]
        pairs += [(name, getattr(theirs, name, None), getattr(config, name)) for name in names]
        for name, there, here in pairs:
            if there != here:
                raise ConfigError(f"{refused}its {name} is {there} and here it is {here}; {must}")
        try:
            return learner_of(config).begin(side, classes, config, device, self.parts())
        except ConfigError as error:
            raise ConfigError(f"{refused}{error}; {must}") from None


def _digest(folder: Path, about: dict[str, Any]) -> str:
    stated = json.dumps({key: value for key, value in about.items() if key != "digest"}, sort_keys=True)
    hasher = hashlib.sha256(stated.encode())
    for name in (*(f"{part}.safetensors" for part in about["parts"]), "lineage.csv"):
        hasher.update((folder / name).read_bytes())
    return hasher.hexdigest()
