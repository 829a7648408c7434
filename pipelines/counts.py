"""Counts a study's images by their names, before any image is read."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.graph import ANY_LAYOUT
from syntrial.config import IngestConfig, StudyConfig
from syntrial.errors import ConfigError
from syntrial.reading.layouts import FACES, find
from syntrial.store import transfer
from syntrial.store.uris import Location


@dataclass(frozen=True)
class Counts:
    """Number of images: of each class, of faces, and of the second test set."""

    classes: dict[str, int]
    faces: int = 0
    external: int = 0

    @property
    def total(self) -> int:
        return sum(self.classes.values())


def count_images(study: StudyConfig, locations: dict[str, Location]) -> Counts:
    """Number of files of each class. Unreadable files are counted too; only `ingest` detects them."""
    any_layout = study.ingest.model_copy(update=ANY_LAYOUT)
    external = _count(locations["external"], study.classes, any_layout)
    faces = _count(locations["faces"], [FACES], any_layout)
    return Counts(_count(locations["data"], study.classes, study.ingest), faces[FACES], sum(external.values()))


def costed(study: StudyConfig, locations: dict[str, Location]) -> Counts:
    """The same, where the counts suffice to estimate the cost.

    Raises:
        ConfigError: the names show no image of a class or set, as with an archive in an object store.
    """
    counts = count_images(study, locations)
    unseen = [label for label in study.classes if not counts.classes.get(label)]
    if unseen:
        raise ConfigError(f"the names in {locations['data']} show none of {', '.join(unseen)}")
    for name, count in (("faces", counts.faces), ("external", counts.external)):
        if locations[name] and not count:
            raise ConfigError(f"the names in {locations[name]} show no images")
    return counts


def _count(location: Location, classes: list[str], config: IngestConfig) -> Counter[str]:
    """Number of files of each class: local ones as `ingest` detects them, remote ones by the folders in their names."""
    if not location:
        return Counter()
    if location.is_remote:
        names = [PurePosixPath(entry.name) for entry in transfer.open_store(location).entries()]
        if len(classes) == 1:
            return Counter({classes[0]: len(names)})
        return Counter(label for name in names for label in classes if label.lower() in map(str.lower, name.parts))
    with tempfile.TemporaryDirectory() as scratch:
        found = find(transfer.fetch(location, Path(scratch)), classes, config, Path(scratch), tables_only=True)
        return Counter(candidate.label for candidate in found.candidates if not candidate.aside)
