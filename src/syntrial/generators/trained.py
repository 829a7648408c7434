"""A trained generator on disk: weights as safetensors, what it is, and which real images it has seen."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor, nn

from syntrial.config import GanConfig
from syntrial.errors import ConfigError, DataError
from syntrial.generators import GANS
from syntrial.imageset import Lineage, read_lineage, write_lineage
from syntrial.store import atomic

ALL = "*"  # in place of a class: one conditional generator of all classes


@dataclass(frozen=True)
class Generator:
    """A folder: generator.safetensors (the averaged weights), discriminator.safetensors, about.json, lineage.csv,
    curves, pictures.
    """

    folder: Path
    about: dict[str, Any]
    ancestors: set[tuple[str, str]]  # (sha256, group) of the real images it has seen, those of its start included

    @classmethod
    def open(cls, folder: str | Path) -> Generator:
        """Raises DataError when the folder is no trained generator, or not a whole one."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            ancestors = read_lineage(folder / "lineage.csv")[about["name"]]
            unchanged = about["digest"] == _digest(folder)
        except FileNotFoundError as error:
            raise DataError(f"{folder} is not a trained generator: it lacks {Path(error.filename).name}") from None
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise DataError(f"{folder} is not a trained generator: {error}") from None
        if not unchanged:
            raise DataError(f"{folder} was changed after it was written: its files do not fit the digest in about.json")
        return cls(folder, about, ancestors)

    @staticmethod
    def write(
        draft: Path, about: dict[str, Any], generator: nn.Module, discriminator: nn.Module, lineage: Lineage
    ) -> None:
        """Fills a draft folder, about.json last, with the digest of both networks' weights and what they have seen."""
        for part, network in (("generator", generator), ("discriminator", discriminator)):
            content = save({name: value.contiguous().cpu() for name, value in network.state_dict().items()})
            (draft / f"{part}.safetensors").write_bytes(content)
        write_lineage(draft / "lineage.csv", lineage)
        atomic.write_json(draft / "about.json", {**about, "digest": _digest(draft)})

    @property
    def digest(self) -> str:
        """Hash of the weights of both networks and of what they have seen."""
        return str(self.about["digest"])

    @property
    def config(self) -> GanConfig:
        """What it was trained with."""
        return GanConfig.of(self.about["config"])

    def network(self) -> nn.Module:
        """The generator, ready to draw."""
        classes = len(self.about["classes"]) if self.about["label"] == ALL else 0
        network, _ = GANS[self.config.architecture].build(self.about["side"], classes, self.config)
        self.load_into(network, "generator")
        return network.requires_grad_(False).eval()

    def load_into(self, network: nn.Module, part: str) -> None:
        """Puts the weights of `part` ("generator" or "discriminator") into a network.

        A conditional network that continues an unconditional one keeps its own weights where only it has any.

        Raises:
            ConfigError: the networks differ in shape.
        """
        weights = load_file(self.folder / f"{part}.safetensors")
        own, classes = network.state_dict(), getattr(network, "classes", 0)
        for name, value in weights.items():
            if name not in own or not _fits(value, own[name], classes):
                raise ConfigError(
                    f"{self.about['name']} ({self.about['side']} px, width {self.config.width}) cannot be "
                    f"continued here: its {part} "
                    f"differs at {name}; side, width, latent and normalisation must be the same"
                )
            own[name] = _widened(value, own[name])
        network.load_state_dict(own)


def _digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for name in ("generator.safetensors", "discriminator.safetensors", "lineage.csv"):
        hasher.update((folder / name).read_bytes())
    return hasher.hexdigest()


def _fits(value: Tensor, own: Tensor, classes: int) -> bool:
    """Whether the shapes are the same, or `own` has one row more for each class."""
    if value.shape == own.shape:
        return True
    return 0 < value.dim() == own.dim() and value.shape[1:] == own.shape[1:] and len(own) - len(value) == classes


def _widened(value: Tensor, own: Tensor) -> Tensor:
    """`value` where it covers `own`, whose further rows (the classes a conditional generator is told) stay as they
    are.
    """
    if value.shape == own.shape:
        return value
    own = own.clone()
    own[: len(value)] = value
    return own
