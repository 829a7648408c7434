"""DICOM -> grey picture. Only pixels and the patient ID leave this module: no other tag, no message that quotes one.

Standard: PS3.3, sections C.7.6.3 (pixels), C.11.1 and C.11.2 (look-up tables).
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syntrial.reading.pixels import ImageError, full_scale

COLOURS = (
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_ICT",
    "YBR_RCT",
)  # read as RGB; anything else that is not grey is refused


def is_dicom(start: bytes) -> bool:
    """Whether a file with these first 132 bytes or more is DICOM; its name does not matter."""
    return start[128:132] == b"DICM"


def read(file: BinaryIO, max_pixels: int) -> tuple[Image.Image, str]:
    """The picture, grey, in [0, 255] (mode L or F), 0 black, and the patient ID ("" where there is none).

    Raises:
        ImageError: no pydicom, truncated, without pixels, several frames, too large, or of a kind that is not read.
    """
    try:
        import pydicom
    except ImportError:
        raise ImageError("needs pydicom", "a DICOM file; pip install pydicom brings what reads it") from None
    logging.getLogger("pydicom").disabled = True  # its messages quote tags
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # and so do its warnings
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            _refuse_from_header(header, max_pixels)
            file.seek(0)
            data = pydicom.dcmread(file)
            return _picture(data), str(data.get("PatientID", "") or "").strip()
        except ImageError:
            raise
        except (NotImplementedError, RuntimeError):
            raise ImageError("unsupported", "packed in a way for which no decoder is installed") from None
        except Exception:  # pydicom raises any exception on a damaged file, and its message may quote a tag
            raise ImageError("corrupt", "a DICOM file that cannot be read") from None


def pseudonym(patient: str, salt: str) -> str:
    """16 hexadecimal digits, equal for equal patient and salt; with a secret salt they cannot be traced back."""
    return hashlib.sha256((salt + patient).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _refuse_from_header(header: Any, max_pixels: int) -> None:
    rows, columns = int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if rows * columns == 0:
        raise ImageError("no pixels", "a DICOM file without an image")
    if frames > 1:
        raise ImageError("several pages", f"{frames} frames in one file; which one to take is a person's choice")
    if rows * columns > max_pixels:
        raise ImageError("too large", f"claims {columns} x {rows} pixels, more than max_pixels ({max_pixels})")


def _picture(data: Any) -> Image.Image:
    if "PixelData" not in data:
        raise ImageError("no pixels", "a DICOM file without an image")
    samples, colour = int(data.get("SamplesPerPixel", 1) or 1), str(data.get("PhotometricInterpretation", "")).strip()
    if not data.file_meta.TransferSyntaxUID.is_compressed:
        needed = int(data.Rows) * int(data.Columns) * samples * int(data.BitsAllocated) // 8
        if colour != "YBR_FULL_422" and len(data.PixelData) < needed:  # that one stores two thirds of it
            raise ImageError("truncated", f"{len(data.PixelData)} of {needed} bytes of pixels are there")
    if samples == 3 and colour in COLOURS and int(data.BitsAllocated) == 8:
        return Image.fromarray(data.pixel_array).convert("L")
    if samples != 1 or colour not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError("unsupported", "neither grey nor RGB")
    shown_HW = _as_shown(data)
    if colour == "MONOCHROME1":  # 0 is white
        shown_HW = 255 - shown_HW
    return Image.fromarray(shown_HW)


def _as_shown(data: Any) -> NDArray[np.float32]:
    """In [0, 255]: rescaled, then through the file's look-up table or window, else over its whole range."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    stored_HW = data.pixel_array
    values_HW = apply_modality_lut(stored_HW, data)
    if data.get("VOILUTSequence"):
        low, high = 0.0, 2.0 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1
        shown_HW = apply_voi_lut(np.rint(values_HW).astype(np.int64), data)
    else:
        low, high = _range(data, int(stored_HW.max()))
        shown_HW = apply_voi_lut(values_HW, data)  # a window's output spans this same range
    grey_HW = shown_HW.astype(np.float32)  # in place from here on, since pictures can be large
    grey_HW -= np.float32(low)
    grey_HW *= np.float32(255 / (high - low))
    return np.clip(grey_HW, 0, 255, out=grey_HW)


def _range(data: Any, largest: int) -> tuple[float, float]:
    """The least and the greatest value after rescaling."""
    bits = int(data.BitsStored)
    windowed = data.get("WindowWidth") is not None and data.get("WindowCenter") is not None
    if data.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(data.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    if int(data.get("PixelRepresentation", 0)):
        low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    else:  # writers often declare 16 bits, without a window, whatever number of bits is used
        low, high = 0.0, float(full_scale(largest) if bits == 16 and not windowed else 2**bits - 1)
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    if slope is None or intercept is None:
        return low, high
    low, high = low * float(slope) + float(intercept), high * float(slope) + float(intercept)
    return (low, high) if windowed else (min(low, high), max(low, high))
