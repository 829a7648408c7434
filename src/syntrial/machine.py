"""What the numbers were computed with: device, threads and versions. Where a result could change, this says why."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from syntrial.errors import ConfigError

if TYPE_CHECKING:
    import torch


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
        if not threads.isdigit() or int(threads) < 1:
            raise ConfigError(f"SYNTRIAL_THREADS is {threads!r}; it needs a whole number from 1")
        torch.set_num_threads(int(threads))
    wanted = os.environ.get("SYNTRIAL_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError):
        raise ConfigError(
            f"SYNTRIAL_DEVICE is {wanted!r}, which this machine does not have; cpu always works"
        ) from None
    if chosen.type == "cuda":
        # Not torch.use_deterministic_algorithms, which imports torch's compiler: four seconds a box. On a CPU
        # everything used here is deterministic; on a GPU cuDNN's choice of algorithm is what is not.
        torch.backends.cudnn.deterministic = True
        torch.set_float32_matmul_precision("high")  # TF32: GAN and CNN training do not notice the ten bits of mantissa
        torch.backends.cudnn.allow_tf32 = True
    return chosen


def description(chosen: torch.device) -> dict[str, Any]:
    """What could change a number from one machine to the next, JSON-ready and without anything that names the
    machine.
    """
    import numpy as np
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
    }
