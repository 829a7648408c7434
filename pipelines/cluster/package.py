"""Compiles a study for Kubeflow: a package with the graph, and the arguments of a run."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import compiler

from pipelines.cluster.place import Place, placed
from pipelines.graph import arguments_of, graph
from syntrial.config import StudyConfig

NAME = "syntrial"  # of the pipeline; all versions of a pipeline share Kubeflow's cache


@dataclass(frozen=True)
class Compiled:
    """A compiled study."""

    path: Path  # the package, YAML; the study's values are the defaults of its parameters
    code: str  # hash of graph, code and place, without the arguments; 16 hexadecimal digits
    arguments: dict[str, Any]  # of a run; JSON values


def compiled(study: StudyConfig, place: Place, uris: dict[str, str], folder: Path) -> Compiled:
    """Compiles a study into a new file in `folder`.

    Args:
        uris: URIs of "data", "faces" and "external"; "" for none.
    """
    whole, arguments = graph(study, placed(place)), arguments_of(study, **uris)
    path = folder / f"{study.name}.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp warns about deprecated functions that it uses itself
        compiler.Compiler().compile(whole, str(path))
        code = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        compiler.Compiler().compile(whole, str(path), pipeline_parameters=json.loads(json.dumps(arguments)))
    return Compiled(path, code, arguments)
