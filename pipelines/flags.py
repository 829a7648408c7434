"""The flags that commands share: the study, changes to its settings, and the images."""

from __future__ import annotations

import argparse

from pipelines.graph import continuing, starts_of
from syntrial.config import StudyConfig, load_study
from syntrial.errors import ConfigError, DataError
from syntrial.store.uris import NOWHERE, Location


def add_study(parser: argparse.ArgumentParser) -> None:
    """Adds these flags to a parser."""
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
    """The locations of "data", "faces" and "external". Local paths are absolute; faces that no generator needs are
    NOWHERE.

    Raises:
        ConfigError: --data is empty, or a URI is invalid.
        DataError: faces are needed, and --faces is empty.
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
    """The locations as parameters of a pipeline: URIs, "" for NOWHERE."""
    return {name: str(location) for name, location in locations.items()}
