"""The device, the threads and the versions with which results are computed, and which can therefore change them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from typing import TYPE_CHECKING, Any

from syntrial.errors import ConfigError
from syntrial.training.seeds import seed_for

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


def device() -> torch.device:
    """The GPU if there is one, else the CPU; SYNTRIAL_DEVICE (cpu, cuda, cuda:1) overrides this.

    Also sets the number of threads: SYNTRIAL_THREADS, else torch's default. On a CPU the same number of threads gives
    the same bits.

    Raises:
        ConfigError: a device that this machine does not have, or an invalid number of threads.
    """
    import torch

    threads = os.environ.get("SYNTRIAL_THREADS", "")
    if threads:
        if not threads.isdecimal() or int(threads) < 1:
            raise ConfigError(f"SYNTRIAL_THREADS is {threads!r}; it needs a whole number from 1")
        torch.set_num_threads(int(threads))
    wanted = os.environ.get("SYNTRIAL_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError):
        raise ConfigError(
            f"SYNTRIAL_DEVICE is {wanted!r}, which this machine does not have, or has with a driver that torch "
            f"{torch.__version__} cannot use; cpu always works"
        ) from None
    if chosen.type == "cuda":
        # Not torch.use_deterministic_algorithms, which imports torch's compiler: four seconds per box. On a CPU
        # everything used here is deterministic; on a GPU only cuDNN's choice of algorithm is not.
        torch.backends.cudnn.deterministic = True
        torch.set_float32_matmul_precision("high")  # TF32: its 10 bits of mantissa suffice for training GANs and CNNs
        torch.backends.cudnn.allow_tf32 = True
    else:
        _keep_memory()
    return chosen


def reseed(device: torch.device, *parts: object) -> None:
    """Seeds torch on the host and on the device: what it draws next depends on `parts` alone."""
    import torch

    seed = seed_for(*parts)
    # Not torch.manual_seed, which seeds every kind of device: half a millisecond, a sixtieth of a step.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _keep_memory() -> None:
    # glibc returns blocks over 32 MB to the system after each use, which are most of the blocks of a step: measured a
    # fifth of the time of a classifier's step and two thirds of an evaluation. Other C libraries have no mallopt.
    with contextlib.suppress(AttributeError):
        change = ctypes.CDLL(None).mallopt
        change(M_MMAP_MAX, 0)
        change(M_TRIM_THRESHOLD, 2**31 - 1)


def kind(chosen: torch.device) -> str:
    """The device and, on a CPU, the number of threads: if they are equal, a resumed run ends with the same bits."""
    import torch

    return f"{chosen}, {torch.get_num_threads()} threads" if chosen.type == "cpu" else str(chosen)


def joined(earlier: list[dict[str, Any]], chosen: torch.device) -> list[dict[str, Any]]:
    """The descriptions of the machines that took part in a computation, with this one; each once."""
    own = description(chosen)
    return earlier if own in earlier else [*earlier, own]


def description(chosen: torch.device) -> dict[str, Any]:
    """What can change results between machines, as JSON values; nothing in it identifies the machine."""
    import numpy as np
    import PIL
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
    }
