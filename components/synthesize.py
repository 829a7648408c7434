"""Generator -> image set."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components._base import component


@component("synthesize")
def synthesize(generator: Input[Model], count: int, images: Output[Dataset], metrics: Output[Metrics]):
    """`count` images of each class the generator knows."""
    from syntrial.atomic import write_json
    from syntrial.synthesize import synthesize

    numbers = synthesize(generator.path, images.path, count=int(count))
    metrics.metadata.update(numbers)
    write_json(metrics.path, numbers)
