"""One file -> one square grey image with a record of its conversions, or the reason for refusing it.

The format is detected from the content, never from the name. Transparency is dropped; the pixels under it are used.
"""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from syntrial.config import IngestConfig
from syntrial.imageset import Pixels, sha256_of
from syntrial.reading import dicom
from syntrial.reading.archives import DAMAGED, File, FileSource
from syntrial.reading.likeness import chest_likeness, fingerprint, thumbnail
from syntrial.reading.pixels import ImageError, from_numbers, refuse_blank, squared

MAX_FILE_BYTES = 2**30  # a file is decoded in memory
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "DICOM": (".dcm", ".dicom", ".ima"),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
ORIENTATION, PHOTOMETRIC = 274, 262  # tags of EXIF and TIFF
CONVERTED = {
    "LA": ("alpha", "the transparency was dropped"),
    "RGBA": ("alpha", "the transparency was dropped, the colours turned to grey"),
    "PA": ("alpha", "the transparency was dropped, the colours turned to grey"),
    "P": ("palette", "the colours were looked up in the palette and turned to grey"),
    "RGB": ("colour", "the colours were turned to grey"),
    "YCbCr": ("colour", "the colours were turned to grey"),
    "CMYK": ("cmyk", "the inks were turned to colours, then to grey"),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome for one file. Without pixels it was left out."""

    outcome: str  # accept, convert, warn or reject
    reason: str = ""
    detail: str = ""
    width: int = 0  # px, after turning by EXIF
    height: int = 0
    white: int = 0  # the value that became 255, where the file has more than 8 bits
    patient: str = ""  # pseudonym from a DICOM file
    pixels: Pixels | None = None  # (S, S)
    sha256: str = ""
    fingerprint: int = 0
    chest: float = 0.0


@dataclass
class _Picture:
    """A picture being converted. `done`: a name and a phrase for each conversion so far."""

    image: Image.Image
    format: str
    done: list[tuple[str, str]]
    patient: str = ""
    white: int = 0


@contextmanager
def strict(config: IngestConfig) -> Iterator[None]:
    """Inside the block, Pillow refuses pictures with too many pixels or missing data, and gives no other warnings."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = config.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("error", message=".*runcated")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def take(origin: FileSource, file: File, side: int, config: IngestConfig, salt: str) -> Taken:
    """Reads one whole file; call it inside `strict`. Never raises because of a file's content."""
    try:
        with _opened(origin, file) as content:
            picture = _read(content, config)
        refuse_blank(picture.image)
        image_SS = squared(picture.image, side, config.fit)
    except ImageError as bad:
        return Taken("reject", bad.reason, str(bad))
    outcome, reason, detail = _verdict(picture, posixpath.splitext(file.name)[1].lower())
    small = thumbnail(image_SS)
    return Taken(
        outcome,
        reason,
        detail,
        *picture.image.size,
        picture.white,
        dicom.pseudonym(picture.patient, salt) if picture.patient else "",
        image_SS,
        sha256_of(image_SS),
        fingerprint(small),
        chest_likeness(small),
    )


def _opened(origin: FileSource, file: File) -> BinaryIO:
    if file.size < 0:
        raise ImageError("missing", "there is no such file, or it is no ordinary one")
    if file.size == 0:
        raise ImageError("empty", "the file has no bytes")
    if file.size > MAX_FILE_BYTES:
        raise ImageError("too large", f"the file has {file.size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    try:
        return origin.open(file.at)
    except DAMAGED as error:
        raise ImageError("unreadable", f"the file cannot be read ({type(error).__name__})") from None


def _verdict(picture: _Picture, suffix: str) -> tuple[str, str, str]:
    done = list(picture.done)
    misnamed = suffix in IMAGE_SUFFIXES and suffix not in SUFFIXES[picture.format]
    if misnamed:
        done.append(("extension", f"the content is {picture.format}, the name says {suffix}"))
    reason, detail = (done[0][0], "; ".join(phrase for _, phrase in done)) if done else ("", "")
    if misnamed and picture.format == "DICOM":  # a name that hides patient data
        return "warn", "extension", detail
    return ("convert" if picture.done else "accept"), reason, detail


def _read(file: BinaryIO, config: IngestConfig) -> _Picture:
    start = file.read(132)
    file.seek(0)
    if dicom.is_dicom(start):
        image, patient = dicom.read(file, config.max_pixels)
        _refuse_shape(image, config)
        return _Picture(
            image, "DICOM", [("dicom", "pixels as the file says they are to be seen; every tag dropped")], patient
        )
    try:
        picture = _loaded(file, config)
    except ImageError:
        raise
    except UnidentifiedImageError:
        if start.startswith(MAGIC):
            raise ImageError("corrupt", "it starts like an image, but its header cannot be read") from None
        raise ImageError("not an image", "the content is neither PNG, JPEG, TIFF, BMP nor DICOM") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError("too large", f"the header claims more than max_pixels ({config.max_pixels}) pixels") from None
    except Exception as error:  # decoders raise any exception on damaged files, and one file must not end a run
        reason = "truncated" if "truncated" in str(error).lower() or isinstance(error, EOFError) else "corrupt"
        raise ImageError(
            reason, f"the pixels cannot be read to their end ({str(error) or type(error).__name__})"
        ) from None
    return _grey(picture)


def _loaded(file: BinaryIO, config: IngestConfig) -> _Picture:
    """The decoded picture, turned by its EXIF orientation."""
    image = Image.open(file, formats=FORMATS)
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # a camera's JPEG with a preview behind it
    _refuse_shape(image, config)
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ImageError(
            "several pages",
            f"{getattr(image, 'n_frames', 0)} pages in one file; which one to take is a person's choice",
        )
    turn = image.getexif().get(ORIENTATION, 1)  # before loading, as Pillow turns a TIFF by itself
    image.load()
    if kind == "JPEG":
        _refuse_grey_end(image)
    picture = _Picture(image, kind, [])
    if turn in range(2, 9):
        ImageOps.exif_transpose(image, in_place=True)
        picture.done.append(("turned", f"turned as its EXIF orientation ({turn}) says"))
    return picture


def _refuse_shape(image: Image.Image, config: IngestConfig) -> None:
    shorter, longer = sorted(image.size)
    shape = f"{image.size[0]} x {image.size[1]} px"
    if shorter < config.min_side:
        raise ImageError("too small", f"{shape}; the shorter edge needs min_side ({config.min_side})")
    if longer > config.max_aspect * shorter:
        raise ImageError("aspect", f"{shape}; one edge is more than max_aspect ({config.max_aspect:g}) times the other")


def _refuse_grey_end(image: Image.Image) -> None:
    # A JPEG decoder silently fills data missing before an end marker with mid-grey.
    width, height = image.size
    end = image.crop((0, height - 8, width, height)).convert("L")
    if end.getextrema() == (128, 128):
        raise ImageError("truncated", "the last rows are the flat grey that stands for missing data")


def _grey(picture: _Picture) -> _Picture:
    """In mode L, or F where the file has more than 8 bits."""
    image, mode = picture.image, picture.image.mode
    if mode == "1":
        raise ImageError("two levels", "one bit a pixel")
    if mode == "F" or mode.startswith("I"):
        picture.image, picture.white = from_numbers(np.asarray(image))
        tags = getattr(image, "tag_v2", {})
        if tags.get(PHOTOMETRIC) == 0:  # 0 is white, which Pillow supports in 8 bits only
            picture.image = Image.fromarray(255 - np.asarray(picture.image))
        picture.done.append(("16 bit", f"more than 8 bits; {picture.white} became white"))
    elif mode in CONVERTED:
        picture.image = (image.convert("RGB") if mode == "CMYK" else image).convert("L")
        picture.done.append(CONVERTED[mode])
    elif mode != "L":
        raise ImageError("unsupported", f"colours of the kind {mode}")
    return picture
