"""A trained classifier for other tools: its weights, what is needed to rebuild it, and ONNX where that is installed."""

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
ONNX_NEEDS = ("onnx", "onnxscript")  # packages of torch.onnx.export
KEPT = ("architecture", "settings", "classes", "side", "preprocessing", "protocol", "arm", "seed")


class FromPixels(nn.Module):
    """The network with what comes before and after it: uint8 grey (N, S, S) -> probabilities (N, K)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NSS: Tensor) -> Tensor:
        logits: Tensor = self.network(images_NSS.unsqueeze(1).float() / 127.5 - 1)
        return logits.softmax(dim=1)


def export_classifier(classifier: str | Path, out: str | Path) -> dict[str, float]:
    """Writes weights.safetensors and about.json to the folder `out`, and classifier.onnx where onnx and onnxscript are
    installed.

    Returns:
        The number of parameters, and whether there is an ONNX file (0 or 1).

    Raises:
        DataError: `classifier` is no trained classifier.
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
    """Whether torch can write ONNX here."""
    return all(importlib.util.find_spec(name) for name in ONNX_NEEDS)


def write_onnx(network: nn.Module, side: int, path: Path) -> None:
    """Input "images": uint8 (N, side, side), any N; output "probabilities": float32 (N, K)."""
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
