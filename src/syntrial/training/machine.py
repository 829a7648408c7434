"""What the numbers were computed with: device, threads and versions. Where a result could change, this says why."""

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
    """The GPU where there is one, else the CPU; SYNTRIAL_DEVICE (cpu, cuda, cuda:1) overrules. Sets the number of
    threads too.

    Threads: SYNTRIAL_THREADS, else torch's own choice. The same number gives the same bits on a CPU.

    Raises:
        ConfigError: a device this machine does not have, or threads that are no number.
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
        # Not torch.use_deterministic_algorithms, which imports torch's compiler: four seconds a box. On a CPU
        # everything used here is deterministic; on a GPU cuDNN's choice of algorithm is what is not.
        torch.backends.cudnn.deterministic = True
        torch.set_float32_matmul_precision("high")  # TF32: GAN and CNN training do not notice the ten bits of mantissa
        torch.backends.cudnn.allow_tf32 = True
    else:
        _keep_memory()
    return chosen


def reseed(device: torch.device, *parts: object) -> None:
    """Makes what torch draws next, on the host and on the device, a function of the parts alone."""
    import torch

    seed = seed_for(*parts)
    # Not torch.manual_seed, which asks every kind of device there could be: half a millisecond, a sixtieth of a step.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _keep_memory() -> None:
    # glibc gets blocks over 32 MB from the system and gives them back at each use, which is most of the blocks of a
    # step: measured a fifth of a classifier's step and two thirds of an evaluation. Another C library has no mallopt.
    with contextlib.suppress(AttributeError):
        change = ctypes.CDLL(None).mallopt
        change(M_MMAP_MAX, 0)
        change(M_TRIM_THRESHOLD, 2**31 - 1)


def kind(chosen: torch.device) -> str:
    """What an interrupted computation must find again to end with the same bits: the device, and on a CPU as many
    threads.
    """
    import torch

    return f"{chosen}, {torch.get_num_threads()} threads" if chosen.type == "cpu" else str(chosen)


def joined(earlier: list[dict[str, Any]], chosen: torch.device) -> list[dict[str, Any]]:
    """Descriptions of the machines that had a part in something, with this one; each once."""
    own = description(chosen)
    return earlier if own in earlier else [*earlier, own]


def description(chosen: torch.device) -> dict[str, Any]:
    """What could change a number from one machine to the next, JSON-ready and without anything that names the
    machine.
    """
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
