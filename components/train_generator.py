"""Image set, and a generator to start from -> generator."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components._base import component


@component("train_generator")
def train_generator(
    images: Input[Dataset],
    kind: str,
    label: str,
    epochs: int,
    settings: dict,
    generator: Output[Model],
    page: Output[HTML],
    metrics: Output[Metrics],
    start: Input[Model] = None,
):
    """`start` is the trained generator that this one continues, if any."""
    from syntrial.generators.settings import generator_config
    from syntrial.reporting.dashboard import generator_page, show
    from syntrial.train_generator import train_generator

    config, first = generator_config(settings, epochs=epochs), start.path if start else ""
    numbers = train_generator(images.path, generator.path, kind=kind, label=label, config=config, start=first)
    generator_page(generator.path, page.path)
    show(metrics, numbers)
