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
    drawn_1: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_2: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_3: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_4: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_5: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_6: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_7: Input[List[Dataset]] = None,  # noqa: UP006
    drawn_8: Input[List[Dataset]] = None,  # noqa: UP006
):
    """Each `drawn_N` lists the sets of one generator, one set per class: the engine cannot join lists. The generators
    are in the order of the study.
    """
    from syntrial.config import SplitConfig
    from syntrial.pool import pool
    from syntrial.reporting.dashboard import show

    lists = (drawn_1, drawn_2, drawn_3, drawn_4, drawn_5, drawn_6, drawn_7, drawn_8)
    drawn = [one.path for sets in lists for one in sets or []]
    show(metrics, pool(real.path, drawn, images.path, config=SplitConfig.of(settings)))
