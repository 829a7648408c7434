"""The names of container images.

The engine's cache compares the name of a box's image, not the image's content. So a tag is the hash of the code that
the box computes with (syntrial.identity) and of the image's recipe, which fixes all its other content. An image has one
tag per box: if only the report's code has changed, only the report runs again.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pipelines.boxes import BOXES
from syntrial.errors import ConfigError
from syntrial.identity import imports_of, sources

REGISTRY = re.compile(r"(localhost|[a-zA-Z0-9_.-]+[.:][a-zA-Z0-9_.-]+)(/[a-z0-9._-]+)*")
ROOT = Path(__file__).parents[2]
COMMAND = "cli"  # tag for other uses of the light image: the command `syntrial`
RECIPES = {  # image -> files in images/ that define it; a change in any of them changes the image's name
    "light": ("Dockerfile", "install", "light.lock", "kfp.lock"),
    "train": ("Dockerfile", "install", "train.lock", "light.lock", "kfp.lock"),
    "minio": ("minio/Dockerfile", "minio/build", "minio/go.mod", "minio/go.sum"),
}


CODE = "syntrial.code"  # a label: the hash of all code in an image, that which no tag depends on included


def refuse_without_clone(root: Path = ROOT) -> None:
    """Raises ConfigError for an installed wheel, because tags depend on the recipes of the images, which it lacks."""
    if not (root / "images" / "Dockerfile").is_file():
        raise ConfigError(
            "the names of container images depend on the recipes in images/, which an installed wheel lacks; use "
            "`make submit` in a clone, or this command after `pip install --editable .` there"
        )


def image_of(box: str, registry: str, root: Path = ROOT) -> str:
    """The name of a box's image. Its tag changes with the box's code and with the image's recipe.

    Args:
        box: a key of BOXES, or COMMAND.
        registry: HOST[:PORT][/PATH].
        root: root folder of a clone.
    """
    image, package = _image(box), root / "src" / "syntrial"
    code = (
        _whole(package) if box == COMMAND else sources(imports_of(root / "components" / f"{box}.py", package), package)
    )
    return f"{registry}/syntrial-{image}:{box}-{_digest(code + _recipe(image, root))}"


def minio_of(registry: str, root: Path = ROOT) -> str:
    """The name of the image of MinIO, for a cluster without an object store."""
    return f"{registry}/syntrial-minio:{_digest(_recipe('minio', root))}"


def code_of(image: str, root: Path = ROOT) -> str:
    """A fingerprint of all code of ours in an image; "" where it holds none. Equal tags may hold different code: a tag
    depends only on what its box computes with.
    """
    return "" if image == "minio" else _digest(_whole(root / "src" / "syntrial"))


def names_of(image: str, registry: str, root: Path = ROOT) -> list[str]:
    """All names of an image (a key of RECIPES)."""
    if image == "minio":
        return [minio_of(registry, root)]
    return [image_of(box, registry, root) for box in (COMMAND, *sorted(BOXES)) if _image(box) == image]


def _image(box: str) -> str:
    return "train" if box != COMMAND and BOXES[box].torch else "light"


def _whole(package: Path) -> bytes:
    """All files of the package, because the command also uses modules that no box does."""
    files = [path for path in sorted(package.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return b"\0".join(
        part for path in files for part in (path.relative_to(package).as_posix().encode(), path.read_bytes())
    )


def _recipe(image: str, root: Path) -> bytes:
    return b"".join(name.encode() + (root / "images" / name).read_bytes() for name in RECIPES[image])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
