"""Image set, and a generator to start from -> generator."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components._base import component


@component("train_gan")
def train_gan(
    images: Input[Dataset],
    kind: str,
    label: str,
    epochs: int,
    settings: dict,
    generator: Output[Model],
    metrics: Output[Metrics],
    start: Input[Model] = None,
):
    """Only transfers have a start."""
    from syntrial.atomic import write_json
    from syntrial.config import GanConfig
    from syntrial.train_gan import train_gan

    config = GanConfig.of(settings, epochs=epochs)
    numbers = train_gan(
        images.path, generator.path, kind=kind, label=label, config=config, start=start.path if start else ""
    )
    metrics.metadata.update(numbers)
    write_json(metrics.path, numbers)
