"""`syntrial compile`: writes a study as a package for any Kubeflow Pipelines 2."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipelines.cluster.containers import refuse_without_clone
from pipelines.cluster.package import compiled
from pipelines.cluster.place import add_place, load_place
from pipelines.flags import add_study, locations_of, study_of, texts
from syntrial.errors import DataError
from syntrial.store import atomic
from syntrial.store.uris import NOWHERE, Location


def add_to(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser("compile", help="write a study as a Kubeflow package", description=__doc__)
    add_study(parser)
    add_place(parser)
    parser.add_argument("--output", default="", help="file to write (default: NAME.yaml, after the study)")
    parser.set_defaults(command=compile_study)


def compile_study(flags: argparse.Namespace) -> int:
    """Writes the package atomically. Returns the exit code."""
    refuse_without_clone()
    study = study_of(flags)
    target = Path(flags.output or f"{study.name}.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        place = load_place(flags.place, flags.gpus)
        package = compiled(study, place, texts(_remote(locations_of(flags, study))), Path(scratch))
        try:
            atomic.write_bytes(target, package.path.read_bytes())
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error.strerror}") from None
    print(f"{target}: pipeline code {package.code}", file=sys.stderr)
    return 0


def _remote(locations: dict[str, Location]) -> dict[str, Location]:
    """The locations for a package: NOWHERE in place of local paths, which no pod can reach."""
    return {name: found if found.is_remote else NOWHERE for name, found in locations.items()}
