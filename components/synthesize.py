"""Generator -> image set."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components._base import component


@component("synthesize")
def synthesize(
    generator: Input[Model], count: int, images: Output[Dataset], page: Output[HTML], metrics: Output[Metrics]
):
    """Draws `count` images of each class that the generator was trained on."""
    from syntrial.reporting.dashboard import images_page, show
    from syntrial.synthesize import synthesize

    numbers = synthesize(generator.path, images.path, count=int(count))
    images_page(images.path, page.path)
    show(metrics, numbers)
