"""The flags that commands share: which study, with which changes, on which images."""

from __future__ import annotations

import argparse

from pipelines.graph import continuing, starts_of
from syntrial.config import StudyConfig, load_study
from syntrial.errors import ConfigError, DataError
from syntrial.store.uris import NOWHERE, Location


def add_study(parser: argparse.ArgumentParser) -> None:
    """The flags themselves."""
    parser.add_argument("--study", default="studies/quick.yaml", help="study file (default: %(default)s)")
    parser.add_argument(
        "--data",
        default="data/sample/xray",
        help="images: folder, archive, manifest, s3:// or minio:// (default: %(default)s)",
    )
    parser.add_argument(
        "--faces", default="data/sample/faces", help="images the transfer starts from (default: %(default)s)"
    )
    parser.add_argument("--external", default="", help="a second test set from another source, never trained on")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting, such as generators.simple.epochs=5",
    )


def study_of(flags: argparse.Namespace) -> StudyConfig:
    """The study with its changes.

    Raises:
        ConfigError: no study is named, or it is none.
    """
    if not flags.study:
        raise ConfigError("--study is empty; it names a study file, such as studies/quick.yaml")
    return load_study(flags.study, flags.set)


def locations_of(flags: argparse.Namespace, study: StudyConfig) -> dict[str, Location]:
    """Where "data", "faces" and "external" are; local ones as whole paths, and NOWHERE for faces that
    nothing starts from.

    Raises:
        ConfigError: no images are named, or a URI cannot be one.
        DataError: faces are needed, and none are named.
    """
    if not flags.data:
        raise ConfigError("--data is empty; it names the images: a folder, archive, manifest, s3:// or minio://")
    locations = {name: Location.given(getattr(flags, name)) for name in ("data", "faces", "external")}
    if not starts_of(study):
        locations["faces"] = NOWHERE
    elif not locations["faces"]:
        raise DataError(f"the arm {continuing(study)[0]} starts from faces; name them with --faces")
    return {name: location.resolved() for name, location in locations.items()}


def texts(locations: dict[str, Location]) -> dict[str, str]:
    """The same as a pipeline's parameters have them: URIs, "" for NOWHERE."""
    return {name: str(location) for name, location in locations.items()}
