"""Image set + protocol -> the same set, divided into parts."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components._base import component


@component("split")
def split(
    images: Input[Dataset],
    protocol: str,
    settings: dict,
    parts: Output[Dataset],
    metrics: Output[Metrics],
    external: Input[Dataset] = None,
):
    """The external images become a second test set."""
    from syntrial.config import SplitConfig
    from syntrial.reporting.dashboard import show
    from syntrial.split import split

    second = external.path if external else ""
    numbers = split(images.path, parts.path, protocol=protocol, config=SplitConfig.of(settings), external=second)
    show(metrics, numbers)
