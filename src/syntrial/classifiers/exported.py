"""Exports a trained classifier for other tools: weights, a description to rebuild it, and ONNX if that is installed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from syntrial.classifiers.trained import WEIGHTS, TrainedClassifier
from syntrial.imageset import about_parent
from syntrial.progress import Progress
from syntrial.store import atomic

ONNX = "classifier.onnx"
ONNX_NEEDS = ("onnx", "onnxscript")  # packages that torch.onnx.export needs
KEPT = ("architecture", "settings", "classes", "side", "preprocessing", "protocol", "arm", "seed")


class FromPixels(nn.Module):
    """The network with preprocessing and softmax: uint8 grey (N, S, S) -> probabilities (N, K)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NSS: Tensor) -> Tensor:
        logits: Tensor = self.network(images_NSS.unsqueeze(1).float() / 127.5 - 1)
        return logits.softmax(dim=1)


def export_classifier(classifier: str | Path, out: str | Path) -> dict[str, float]:
    """Writes weights.safetensors and about.json to the folder `out`, and classifier.onnx if onnx and onnxscript are
    installed.

    Returns:
        The number of parameters, and whether there is an ONNX file (0 or 1).

    Raises:
        DataError: `classifier` is not a trained classifier.
    """
    trained = TrainedClassifier.open(classifier)
    network = trained.network()
    with Progress("export", 1) as progress, atomic.new_folder(out) as draft:
        shutil.copyfile(trained.folder / WEIGHTS, draft / WEIGHTS)
        written = has_onnx()
        if written:
            write_onnx(network, trained.side, draft / ONNX)
        about = {"verb": "export", **{name: trained.about[name] for name in KEPT}, "onnx": ONNX if written else None}
        atomic.write_json(draft / "about.json", {**about, "parents": [about_parent(trained.about)]})
        progress.update(1)
    return {"parameters": float(sum(weight.numel() for weight in network.parameters())), "onnx": float(written)}


def has_onnx() -> bool:
    """Whether the packages for ONNX export are installed."""
    return all(importlib.util.find_spec(name) for name in ONNX_NEEDS)


def write_onnx(network: nn.Module, side: int, path: Path) -> None:
    """Writes ONNX with input "images", uint8 (N, side, side), any N, and output "probabilities", float32 (N, K)."""
    torch.onnx.export(
        FromPixels(network).eval(),
        (torch.zeros(2, side, side, dtype=torch.uint8),),
        path,
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes={"images_NSS": {0: torch.export.Dim("N")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
