"""Real and synthetic image sets -> one image set."""

from typing import List  # noqa: UP035  kfp reads the annotation as text

from kfp.dsl import Dataset, Input, Metrics, Output

from components._base import component


@component("pool")
def pool(
    real: Input[Dataset],
    settings: dict,
    images: Output[Dataset],
    metrics: Output[Metrics],
    simple: Input[List[Dataset]] = None,  # noqa: UP006
    transfer: Input[List[Dataset]] = None,  # noqa: UP006
):
    """A study without one kind of generator leaves its list out."""
    from syntrial.config import SplitConfig
    from syntrial.pool import pool
    from syntrial.reporting.dashboard import show

    drawn = [one.path for one in [*(simple or []), *(transfer or [])]]
    numbers = pool(real.path, drawn, images.path, config=SplitConfig.of(settings))
    show(metrics, numbers)
