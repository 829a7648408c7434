"""Batches on the training device: an endless stream over shuffled images. A batch depends on seed and step only.

If the whole set fits on the device, it is kept there as uint8; otherwise a thread reads ahead from mapped shards.

Shapes: B batch, N images, S side.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syntrial.errors import ConfigError
from syntrial.training.seeds import seed_for

AHEAD = 4  # batches read ahead


def as_float(images_NSS: Tensor) -> Tensor:
    """uint8 (N, S, S) grey -> float (N, 1, S, S) in [-1, 1]."""
    return images_NSS.unsqueeze(1).float().div_(127.5).sub_(1)


def as_grey(images_N1SS: Tensor) -> Tensor:
    """float (N, 1, S, S) in [-1, 1] -> uint8 (N, S, S) grey; the inverse of `as_float`."""
    return images_N1SS.squeeze(1).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


class Order:
    """An endless sequence of indices below `count`, as shuffled passes; a function of the seed alone."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._passes: dict[int, NDArray[np.int64]] = {}

    def slice(self, start: int, length: int) -> NDArray[np.int64]:
        """`length` indices, beginning at position `start`."""
        parts = []
        while length > 0:
            number, offset = divmod(start, self.count)
            part = self._pass(number)[offset : offset + length]
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return np.concatenate(parts)

    def _pass(self, number: int) -> NDArray[np.int64]:
        if number not in self._passes:
            self._passes = {k: v for k, v in self._passes.items() if k >= number - 1}  # batches are requested in order
            self._passes[number] = np.random.default_rng(seed_for(self.seed, "pass", number)).permutation(self.count)
        return self._passes[number]


class Batches:
    """Batch number `step` of an endless shuffled stream over images.

    Args:
        read: positions -> uint8 (n, S, S).
        label_N: class indices.
        seed: of the order.
        device: device of the batches.
        resident: whether the whole set is kept on the device; None decides by its size.
    """

    def __init__(
        self,
        read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        label_N: NDArray[np.int64],
        *,
        side: int,
        batch: int,
        seed: int,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        self.read, self.batch, self.device = read, min(batch, len(label_N)), device
        self.order = Order(len(label_N), seed)
        self.label_N = torch.from_numpy(label_N).to(device)
        self.images_NSS: Tensor | None = None
        if fits(len(label_N) * side * side, device) if resident is None else resident:
            self.images_NSS = torch.from_numpy(read(np.arange(len(label_N)))).to(device)
        self._reader = ThreadPoolExecutor(1) if self.images_NSS is None else None
        self._ahead: deque[tuple[int, Future[tuple[Tensor, Tensor]]]] = deque()

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (B, 1, S, S) in [-1, 1] and labels (B,), both on the device."""
        if self.images_NSS is None:
            images, chosen = self._next(step)
        else:
            chosen = torch.from_numpy(self.order.slice(step * self.batch, self.batch)).to(self.device)
            images = self.images_NSS.index_select(0, chosen)
        return as_float(images), self.label_N.index_select(0, chosen)

    def sample(self, count: int) -> Tensor:
        """At most `count` images of the set in [-1, 1], on the device; the same images at every call.

        They are evenly spaced in the set, because its classes may follow one another.
        """
        count = min(count, len(self.label_N))
        positions = np.arange(count) * len(self.label_N) // count
        if self.images_NSS is None:
            return as_float(torch.from_numpy(self.read(positions)).to(self.device))
        return as_float(self.images_NSS.index_select(0, torch.from_numpy(positions).to(self.device)))

    def close(self) -> None:
        """Ends the thread that reads ahead."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def _next(self, step: int) -> tuple[Tensor, Tensor]:
        if not self._ahead or self._ahead[0][0] != step:  # the first batch, or the first after a resume
            self._ahead.clear()
        while len(self._ahead) < AHEAD:
            wanted = step + len(self._ahead)
            self._ahead.append((wanted, self._submit(wanted)))
        images, chosen = self._ahead.popleft()[1].result()
        return images.to(self.device, non_blocking=True), chosen.to(self.device, non_blocking=True)

    def _submit(self, step: int) -> Future[tuple[Tensor, Tensor]]:
        if self._reader is None:
            raise RuntimeError("a set that is kept on the device is not read ahead")
        positions = self.order.slice(step * self.batch, self.batch)
        return self._reader.submit(self._load, positions)

    def _load(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images, chosen = torch.from_numpy(self.read(positions)), torch.from_numpy(positions)
        return (images.pin_memory(), chosen.pin_memory()) if self.device.type == "cuda" else (images, chosen)


def fits(needed: int, device: torch.device) -> bool:
    """Whether a number of bytes may be kept on the device: at most half of the free memory, or SYNTRIAL_RESIDENT_BYTES.

    Raises:
        ConfigError: SYNTRIAL_RESIDENT_BYTES is not a whole number.
    """
    stated = os.environ.get("SYNTRIAL_RESIDENT_BYTES", "")
    if stated:
        if not stated.isdecimal():
            raise ConfigError(f"SYNTRIAL_RESIDENT_BYTES is {stated!r}; it needs a whole number of bytes")
        return needed <= int(stated)
    if device.type == "cuda":
        return needed <= torch.cuda.mem_get_info(device)[0] // 2
    return needed <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 2
