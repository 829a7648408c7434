"""Uploads local images to the object store, where pods can read them: a folder becomes one archive, named after the
digest of its content.

An archive that the store already has is neither packed nor sent. Names and contents of the files are unchanged, so
`ingest` makes the same image set from the archive as from the folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pipelines.graph import ANY_LAYOUT
from syntrial.config import IngestConfig, StudyConfig
from syntrial.errors import ConfigError, DataError
from syntrial.reading.archives import CHUNK, is_archive, printable, stored
from syntrial.reading.layouts import FACES, find
from syntrial.store import transfer
from syntrial.store.objects import ObjectStore
from syntrial.store.uris import Location

STORE = "minio://syntrial/data"  # default of SYNTRIAL_DATA_URI
DIGITS = 16  # of the content's digest, in the archive's URI
OLDEST = (1980, 1, 1, 0, 0, 0)  # the earliest time in an archive; used for all files, so equal content is equal bytes


def uploaded(
    study: StudyConfig, locations: dict[str, Location], scratch: Path, dry: bool = False
) -> dict[str, Location]:
    """Uploads local data. Returns the locations of "data", "faces" and "external" from which pods can read.

    Args:
        scratch: an existing folder with space for an archive of the largest folder.
        dry: print what would be sent, and send nothing.

    Raises:
        DataError: local data do not exist, cannot be read, or change while they are packed.
        StorageError: the store cannot be reached or refuses the request.
    """
    classes = {name: [FACES] if name == "faces" else study.classes for name in locations}
    any_layout = study.ingest.model_copy(update=ANY_LAYOUT)
    config = {name: study.ingest if name == "data" else any_layout for name in locations}
    return {
        name: found if found.is_remote or not found else _sent(found.path, config[name], classes[name], scratch, dry)
        for name, found in locations.items()
    }


def _sent(path: Path, config: IngestConfig, classes: list[str], scratch: Path, dry: bool) -> Location:
    if path.is_file() and not is_archive(path):
        path = _packed_manifest(path, config, classes, scratch)
    digest, name = _digest(path), printable(path.name)
    parent = _parent().below(digest[:DIGITS])
    target = parent.below(name)
    if dry:
        print(f"{path} would be {target}", file=sys.stderr)
    elif ObjectStore(parent).find(name) is None:
        print(f"{path} -> {target}", file=sys.stderr)
        transfer.store(_packed_folder(path, digest, scratch) if path.is_dir() else path, target)
    return target


def _digest(path: Path) -> str:
    return transfer.digest(Location("file", "", str(path)))


def _parent() -> Location:
    parent = Location.of(os.environ.get("SYNTRIAL_DATA_URI") or STORE)
    if not parent.is_remote:
        raise ConfigError(f"SYNTRIAL_DATA_URI is {parent}, which no pod can reach; it must be minio:// or s3://")
    return parent


def _packed_folder(folder: Path, digest: str, scratch: Path) -> Path:
    _, files = stored(folder, scratch)
    archive = _packed(((file.name, folder / file.at) for file in files if file.size >= 0), scratch)
    if _digest(folder) != digest:
        raise DataError(f"{folder} changed while it was packed; start again when nothing writes to it")
    return archive


def _packed_manifest(manifest: Path, config: IngestConfig, classes: list[str], scratch: Path) -> Path:
    """An archive of a manifest and its files. `ingest` uses a manifest of this name in an archive."""
    found = find(manifest, classes, config, scratch)
    files = {file.name: manifest.parent / file.at for file in found.wanted if file.size >= 0}
    archive = _packed([("manifest.csv", manifest), *sorted(files.items())], scratch)
    return archive.rename(scratch / f"{manifest.name}.zip")


def _packed(files: Iterable[tuple[str, Path]], scratch: Path) -> Path:
    """An archive of named files, without compression, because images are already compressed."""
    archive = scratch / "images.zip"
    try:
        with zipfile.ZipFile(archive, "w") as packed:
            for name, path in files:
                with open(path, "rb") as source, packed.open(_member(name, path), "w") as target:
                    shutil.copyfileobj(source, target, CHUNK)
    except OSError as error:
        raise DataError(
            f"no archive can be made in {scratch} ({error.strerror}: {error.filename or archive.name}); "
            "set TMPDIR to another folder"
        ) from None
    return archive


def _member(name: str, path: Path) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, OLDEST)
    member.external_attr = 0o644 << 16
    member.file_size = path.stat().st_size  # decides between 32-bit and 64-bit headers
    return member
