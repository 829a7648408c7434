"""From a decoded picture to the image set: its grey range, a check for blank content, and the square.

Shapes: H height, W width, S side, all in px.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syntrial.errors import DataError
from syntrial.imageset import Pixels

FULL_SCALES = (255, 1023, 4095, 16383, 65535)  # 8, 10, 12, 14 and 16 bits, the depths that detectors deliver
SAMPLE_SIDE = 32  # px
FLAT = 1.0  # standard deviation in grey levels below which a picture shows nothing


class ImageError(DataError):
    """A file that cannot become an image. `reason` is a short name to count by; the message is one sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def full_scale(largest: float) -> int:
    """The white value of a file with this largest value: the full scale of the smallest detector depth that holds it.

    Files of 16 bits seldom record how many are used. The smallest depth keeps a picture from being nearly black and
    never clips it; a very dark one (in the lowest quarter of its true range) becomes lighter than it was.

    Raises:
        ImageError: more than 16 bits.
    """
    for scale in FULL_SCALES:
        if largest <= scale:
            return scale
    raise ImageError("unsupported", f"grey values up to {largest:g}; at most 16 bits are read")


def from_numbers(values_HW: NDArray[np.generic]) -> tuple[Image.Image, int]:
    """Grey values of any number type -> a picture in [0, 255] of floats (mode F), and the value that became 255.

    Floating-point values that are all in [0, 1] are taken as shares of white.

    Raises:
        ImageError: values that are negative, not finite, or beyond 16 bits.
    """
    low, high = float(values_HW.min()), float(values_HW.max())
    if not np.isfinite(low + high):
        raise ImageError("unsupported", "grey values that are not numbers")
    if low < 0:
        raise ImageError("unsupported", f"grey values down to {low:g}; the file does not record which value is black")
    white = 1 if values_HW.dtype.kind == "f" and high <= 1 else full_scale(high)
    return Image.fromarray(values_HW.astype(np.float32) * np.float32(255 / white)), white


def refuse_blank(picture: Image.Image) -> None:
    """Raises ImageError when a picture (mode L or F) has one or two grey levels: it is empty or a drawing."""
    sample = np.asarray(picture.resize((SAMPLE_SIDE, SAMPLE_SIDE), Image.Resampling.NEAREST))
    if ((sample > sample.min()) & (sample < sample.max())).any():
        return
    levels = picture.getcolors(2)  # the sample may have missed some
    if levels is not None and len(levels) == 1:
        raise ImageError("constant", "every pixel has the same grey")
    if levels is not None:
        raise ImageError("two levels", "only two grey levels are there")


def squared(picture: Image.Image, side: int, fit: str) -> Pixels:
    """The picture (mode L or F, in [0, 255]) as (S, S), reduced with an antialiased Lanczos filter.

    Args:
        fit: "squeeze" both edges to the side, "pad" the shorter with black, or "crop" the longer equally at both ends.

    Raises:
        ImageError: hardly any contrast is left.
    """
    width, height = picture.size
    box = (0.0, 0.0, float(width), float(height))
    size = (side, side)
    if fit == "crop":
        edge = min(width, height)
        box = ((width - edge) / 2, (height - edge) / 2, (width + edge) / 2, (height + edge) / 2)
    elif fit == "pad":
        longer = max(width, height)
        size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
    small_HW = np.asarray(picture.resize(size, Image.Resampling.LANCZOS, box))
    if small_HW.dtype != np.uint8:
        small_HW = np.clip(np.rint(small_HW), 0, 255).astype(np.uint8)
    if small_HW[::4, ::4].std() < FLAT:  # a sixteenth of the pixels is enough
        raise ImageError("constant", f"hardly any contrast is left at {side} px")
    if small_HW.shape == (side, side):
        return small_HW
    image_SS = np.zeros((side, side), np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    image_SS[top : top + size[1], left : left + size[0]] = small_HW
    return image_SS
