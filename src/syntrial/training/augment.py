"""Random changes that keep the diagnosis. Every function: (N, 1, S, S) in [-1, 1] -> the same shape and range.

Everything is computed for the whole batch on the device of the images. All random numbers come from torch's default
generator there, so the caller can make them a function of (seed, step) by torch.manual_seed.

There are two families. `conventional`, with the meaning of Keras' ImageDataGenerator (as in keras-preprocessing 1.1.2),
changes the training images of a classifier. `diffaugment` (Zhao et al. 2020) changes the inputs of a discriminator and
is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from syntrial.config import AugmentConfig
from syntrial.errors import ConfigError


@dataclass(frozen=True)
class Changes:
    """The changes of each image of a batch; all fields are (N,)."""

    rotation: Tensor  # degrees
    row_shift: Tensor  # share of the side
    column_shift: Tensor  # share of the side
    shear: Tensor  # degrees
    row_zoom: Tensor  # input pixels per output pixel: above 1 shows more, smaller
    column_zoom: Tensor
    mirrored: Tensor  # bool: flipped left to right
    upended: Tensor  # bool: flipped top to bottom
    brightness: Tensor  # factor on the grey value


def conventional(images: Tensor, config: AugmentConfig) -> Tensor:
    """Changes every image at random: rotation, shift, shear and zoom in one step, then flips, then brightness.

    Order and ranges are those of Keras' ImageDataGenerator. Unlike there, grey values are not rounded between the
    steps. Changes that the settings switch off are not computed; if all are off, the images are returned bit for bit.
    """
    changes = draw_changes(len(images), config, images.device)
    if _moves(config):
        images = affine(images, affine_matrices(changes, images.shape[-1]), config.fill_mode, config.cval)
    if config.horizontal_flip:
        images = torch.where(_beside(changes.mirrored), images.flip(-1), images)
    if config.vertical_flip:
        images = torch.where(_beside(changes.upended), images.flip(-2), images)
    if config.brightness_range != (1, 1):
        images = brighten(images, changes.brightness)
    return images


def draw_changes(count: int, config: AugmentConfig, device: torch.device | str = "cpu") -> Changes:
    """Random changes for `count` images, each number uniform in its range and independent of the others.

    The number of random draws does not depend on the settings, so a setting has no influence on the other changes.
    """
    unit = torch.rand(9, count, device=device)

    def between(row: int, low: float, high: float) -> Tensor:
        return low + (high - low) * unit[row]

    return Changes(
        rotation=between(0, -config.rotation_range, config.rotation_range),
        row_shift=between(1, -config.height_shift_range, config.height_shift_range),
        column_shift=between(2, -config.width_shift_range, config.width_shift_range),
        shear=between(3, -config.shear_range, config.shear_range),
        row_zoom=between(4, *config.zoom_range),
        column_zoom=between(5, *config.zoom_range),
        mirrored=(unit[6] < 0.5) & config.horizontal_flip,
        upended=(unit[7] < 0.5) & config.vertical_flip,
        brightness=between(8, *config.brightness_range),
    )


def affine_matrices(changes: Changes, side: int) -> Tensor:
    """Matrices (N, 2, 3), in pixels, from output to input pixels: input = matrix @ (row, column, 1).

    Keras multiplies rotation, shift, shear and zoom in this order, about the image's centre. The product is written
    out, because a device may compute matrix products with reduced precision (TF32, autocast).
    """
    turn, shear = torch.deg2rad(changes.rotation), torch.deg2rad(changes.shear)
    down, right = changes.row_shift * side, changes.column_shift * side
    centre = (side - 1) / 2
    rows = (turn.cos() * changes.row_zoom, -(turn + shear).sin() * changes.column_zoom)
    columns = (turn.sin() * changes.row_zoom, (turn + shear).cos() * changes.column_zoom)
    row_offset = centre - centre * (rows[0] + rows[1]) + turn.cos() * down - turn.sin() * right
    column_offset = centre - centre * (columns[0] + columns[1]) + turn.sin() * down + turn.cos() * right
    return torch.stack([*rows, row_offset, *columns, column_offset], dim=1).reshape(-1, 2, 3)


def affine(images: Tensor, matrices: Tensor, fill_mode: str = "nearest", cval: float = 0.0) -> Tensor:
    """Transforms each image by its matrix, with linear interpolation; equals scipy.ndimage.affine_transform, order=1.

    Args:
        images: (N, 1, S, S), S at least 2.
        matrices: (N, 2, 3), result of `affine_matrices`.
        fill_mode: values beyond the edge, as in scipy: `nearest` repeats the edge pixel; `reflect` mirrors, edge pixel
            included; `wrap` repeats the image with its first pixel on its last (a period of S - 1); `constant` is
            `cval` for all points beyond the centre of an edge pixel, without blending.
        cval: grey value, 0 (black, -1) to 255 (white, 1).

    Raises:
        ConfigError: an unknown fill mode.
    """
    if fill_mode not in FILLS:
        raise ConfigError(f"fill_mode is {fill_mode!r}; there are {', '.join(FILLS)}")
    last = images.shape[-1] - 1
    row_NSS, column_NSS = _sources(matrices, last + 1)
    inside_NSS = [FILLS[fill_mode](place, last) for place in (column_NSS, row_NSS)]  # grid_sample takes x first
    grid_NSS2 = torch.stack(inside_NSS, dim=-1).mul_(2 / last).sub_(1)
    moved = grid_sample(images, grid_NSS2, mode="bilinear", padding_mode="border", align_corners=True).clamp_(-1, 1)
    if fill_mode != "constant":
        return moved
    beyond_NSS = (row_NSS < 0) | (row_NSS > last) | (column_NSS < 0) | (column_NSS > last)
    return moved.masked_fill(beyond_NSS[:, None], cval / 127.5 - 1)


def brighten(images: Tensor, factor_N: Tensor) -> Tensor:
    """Multiplies grey values, counted from black, by a factor per image; values above white are clipped."""
    return (images + 1).mul_(_beside(factor_N)).sub_(1).clamp_(-1, 1)


def _moves(config: AugmentConfig) -> bool:
    shifts = (config.width_shift_range, config.height_shift_range)
    return any((config.rotation_range, config.shear_range, *shifts)) or config.zoom_range != (1, 1)


def _beside(value_N: Tensor) -> Tensor:
    return value_N.reshape(-1, 1, 1, 1)


def _sources(matrices_N23: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The row and column in the input of each output pixel, in pixels; (N, S, S) each."""
    place_S = torch.arange(side, device=matrices_N23.device, dtype=matrices_N23.dtype)
    factors = matrices_N23.reshape(-1, 6, 1, 1).unbind(1)
    row_NSS = factors[0] * place_S[:, None] + factors[1] * place_S + factors[2]
    column_NSS = factors[3] * place_S[:, None] + factors[4] * place_S + factors[5]
    return row_NSS, column_NSS


# Maps a coordinate beyond the edge to the coordinate inside, from 0 to the last pixel, with the same value.


def _nearest(place: Tensor, last: int) -> Tensor:
    return place  # grid_sample's padding_mode "border" does it


def _reflect(place: Tensor, last: int) -> Tensor:
    period = 2 * (last + 1)
    from_edge = torch.remainder(place + 0.5, period)
    return (torch.minimum(from_edge, period - from_edge) - 0.5).clamp(0, last)


def _wrap(place: Tensor, last: int) -> Tensor:
    # First and last pixel coincide. scipy uses the last pixel for coordinates below 0, else the first.
    before = last - torch.remainder(-place, last)
    after = torch.remainder(place, last)
    return torch.where(place < 0, before, torch.where(place > last, after, place))


FILLS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "nearest": _nearest,
    "constant": _nearest,
    "reflect": _reflect,
    "wrap": _wrap,
}


def diffaugment(images: Tensor, policy: Sequence[str]) -> Tensor:
    """Changes the real and generated images that a discriminator sees, so that it does not memorise few real images.

    Zhao et al. 2020, section 4. Differentiable with respect to the images. Grey values may leave [-1, 1], as in the
    original, because clipping would stop gradients.

    Args:
        policy: keys of POLICIES, applied in this order; empty returns the images.

    Raises:
        ConfigError: a name that POLICIES lacks.
    """
    for name in policy:
        if name not in POLICIES:
            raise ConfigError(f"diffaugment has no {name!r}; it has {', '.join(POLICIES)}")
        images = POLICIES[name](images)
    return images


def color(images: Tensor) -> Tensor:
    """Changes brightness by up to 0.5 either way, then multiplies contrast about the image's mean by 0.5 to 1.5.

    The original's saturation is left out, because it has no effect on images of one channel.
    """
    shift_N, factor_N = torch.rand(2, len(images), device=images.device, dtype=images.dtype)
    images = images + _beside(shift_N - 0.5)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * _beside(factor_N + 0.5) + mean


def translation(images: Tensor) -> Tensor:
    """Shifts by up to an eighth of the side, in whole pixels, per axis; new pixels are mid-grey (0)."""
    reach = int(images.shape[-1] / 8 + 0.5)
    down_N, right_N = torch.randint(-reach, reach + 1, (2, len(images)), device=images.device)
    return _slide(_slide(images, down_N, 2), right_N, 3)


def cutout(images: Tensor) -> Tensor:
    """Sets a square of half the side to mid-grey (0). Its centre is anywhere, so part of it may be outside."""
    side = images.shape[-1]
    size = int(side / 2 + 0.5)
    first_2N = torch.randint(0, side + 1 - size % 2, (2, len(images)), device=images.device) - size // 2
    from_first_2NS = torch.arange(side, device=images.device) - first_2N[:, :, None]
    row_NS, column_NS = (from_first_2NS >= 0) & (from_first_2NS < size)
    hidden_NSS = row_NS[:, :, None] & column_NS[:, None, :]
    return images.masked_fill(hidden_NSS[:, None], 0.0)


def _slide(images: Tensor, steps_N: Tensor, dim: int) -> Tensor:
    """Shifts each image by its own number of pixels along one axis (2: down, 3: right)."""
    side = images.shape[dim]
    source_NS = torch.arange(side, device=images.device) - steps_N[:, None]
    along = (-1, 1, side, 1) if dim == 2 else (-1, 1, 1, side)
    index = source_NS.clamp(0, side - 1).reshape(along).expand_as(images)
    outside = ((source_NS < 0) | (source_NS >= side)).reshape(along)
    return images.gather(dim, index).masked_fill(outside, 0.0)


POLICIES: dict[str, Callable[[Tensor], Tensor]] = {"color": color, "translation": translation, "cutout": cutout}
