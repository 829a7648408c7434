"""The flags that all commands share: which study, with which changes, on which images."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.graph import continuing, starts_of
from syntrial.config import StudyConfig
from syntrial.errors import ConfigError, DataError
from syntrial.store import transfer
from syntrial.store.uris import place_of


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


def uris_of(flags: argparse.Namespace, study: StudyConfig) -> dict[str, str]:
    """Where the data are; local ones as whole paths, and no faces where nothing starts from them.

    Raises:
        ConfigError: no images are named.
        DataError: faces are needed, and none are named.
    """
    if not flags.data:
        raise ConfigError(
            "--data is empty; it says where the images are: a folder, archive, manifest, s3:// or minio://"
        )
    given = {name: getattr(flags, name) for name in ("data", "faces", "external")}
    if not starts_of(study):
        given["faces"] = ""
    elif not given["faces"]:
        raise DataError(f"the arm {continuing(study)[0]} starts from faces; --faces says where they are")
    return {
        name: uri if not uri or transfer.is_remote(uri) else str(Path(place_of(uri).key).resolve())
        for name, uri in given.items()
    }
