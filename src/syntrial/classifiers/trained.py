"""A trained classifier on disk: weights as safetensors, its description, and the real images it was trained on.

Shapes: N images, K classes, S side.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from syntrial.classifiers.settings import ClassifierConfig, architecture_of, classifier_config
from syntrial.errors import ConfigError, DataError
from syntrial.imageset import ImageSet, Lineage, read_lineage, write_lineage
from syntrial.store import atomic
from syntrial.training.batches import as_float

WEIGHTS = "weights.safetensors"
PREPROCESSING = {  # how an image is converted to the network's input
    "pixels": "uint8 grey, side x side",
    "grey_range": [-1.0, 1.0],  # of 0 and 255
    "resize_filter": "lanczos",
}
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class TrainedClassifier:
    """A folder: weights.safetensors, about.json, lineage.csv."""

    folder: Path
    about: dict[str, Any]
    ancestors: set[
        tuple[str, str]
    ]  # (sha256, group) of the real images that it or one of its generators was trained on

    @classmethod
    def open(cls, folder: str | Path) -> TrainedClassifier:
        """Opens a folder. Raises DataError if it is not a trained classifier, is incomplete, or was changed."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            lineage = read_lineage(folder / "lineage.csv")
            unchanged = about["digest"] == _digest(folder, about)
            ancestors = lineage.get(about["arm"], set())
        except FileNotFoundError as error:
            hint = "; name one of the seeds in its folder classifiers" if (folder / "classifiers").is_dir() else ""
            missing = Path(error.filename).name
            raise DataError(f"{folder} is not a trained classifier: it lacks {missing}{hint}") from None
        except KeyError as error:
            raise DataError(f"{folder} is not a trained classifier: its files state no {error}") from None
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{folder} is not a trained classifier: {error}") from None
        if not unchanged:
            raise DataError(f"{folder} was changed after it was written: its files do not fit the digest in about.json")
        return cls(folder, about, ancestors)

    @staticmethod
    def write(folder: Path, about: dict[str, Any], network: nn.Module, lineage: Lineage) -> str:
        """Writes a classifier to a draft folder. Returns the digest of weights, description and lineage.

        Args:
            about: architecture, settings, classes, side, arm, protocol, seed, parents.
        """
        folder.mkdir(parents=True)
        weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(weights))
        write_lineage(folder / "lineage.csv", lineage)
        about = {**about, "preprocessing": PREPROCESSING}
        digest = _digest(folder, about)
        atomic.write_json(folder / "about.json", {**about, "digest": digest})
        return digest

    @property
    def digest(self) -> str:
        """Hash of the weights, of the other facts in about.json, and of the lineage."""
        return str(self.about["digest"])

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the probabilities."""
        return list(self.about["classes"])

    @property
    def side(self) -> int:
        """px"""
        return int(self.about["side"])

    @property
    def config(self) -> ClassifierConfig:
        """The settings of its training."""
        return classifier_config(self.about["settings"])

    def network(self) -> nn.Module:
        """The network, in evaluation mode. Raises DataError if the weights do not match its architecture."""
        network = new_network(len(self.classes), self.config)
        try:
            network.load_state_dict(load_file(self.folder / WEIGHTS))
        except (RuntimeError, SafetensorError, OSError) as error:
            name = self.config.architecture
            raise DataError(f"{self.folder}: the weights do not match a {name}: {_line(error)}") from None
        return network.requires_grad_(False).eval()

    def probabilities(self, images: ImageSet, device: torch.device) -> Probabilities:
        """Probabilities (N, K), in the order of the set.

        Raises:
            DataError: images of another side.
        """
        if images.side != self.side:
            raise DataError(f"{images.folder} has images of {images.side} px; {self.folder} reads {self.side} px")
        size = at_once(device, images.side)
        starts = range(0, len(images.rows), size)
        chunks = (images.pixels(range(start, min(start + size, len(images.rows)))) for start in starts)
        return probabilities(self.network().to(device).to(memory_format=torch.channels_last), chunks)


def new_network(classes: int, config: ClassifierConfig) -> nn.Module:
    """A network with initial weights from torch's default generator. Raises ConfigError for an unknown architecture."""
    module, _, name = architecture_of(config.architecture).network.partition(":")
    try:
        network: nn.Module = getattr(importlib.import_module(module), name)(classes, config)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"classifier {config.architecture}: {module}:{name} cannot be imported: {error}") from None
    return network


def at_once(device: torch.device, side: int) -> int:
    """Number of images per call of the network, from a number of pixels: few for a CPU's caches, many for a GPU."""
    return max(1, (2**22 if device.type == "cuda" else 2**18) // side**2)


@torch.no_grad()
def probabilities(network: nn.Module, chunks: Iterable[NDArray[np.uint8]]) -> Probabilities:
    """Probabilities (N, K), in evaluation mode, of images (N, S, S) in chunks."""
    network.eval()
    device = next(network.parameters()).device
    parts = [network(as_float(torch.from_numpy(images).to(device))).double().softmax(dim=1) for images in chunks]
    found: Probabilities = torch.cat(parts).cpu().numpy()  # one transfer from the device
    return found


def _digest(folder: Path, about: dict[str, Any]) -> str:
    facts = json.dumps({key: value for key, value in about.items() if key != "digest"}, sort_keys=True)
    hasher = hashlib.sha256(facts.encode())
    for name in (WEIGHTS, "lineage.csv"):
        hasher.update((folder / name).read_bytes())
    return hasher.hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
