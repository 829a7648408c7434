"""Raw files -> image set."""

from kfp.dsl import Dataset, Metrics, Output

from components._base import component


@component("ingest")
def ingest(
    data: str,
    digest: str,
    name: str,
    side: int,
    classes: list,
    settings: dict,
    images: Output[Dataset],
    metrics: Output[Metrics],
):
    """`digest` is that of the data: it takes part in the cache's key and in nothing else."""
    from syntrial.atomic import write_json
    from syntrial.config import IngestConfig
    from syntrial.ingest import ingest

    numbers = ingest(data, images.path, side=int(side), classes=classes, config=IngestConfig.of(settings), name=name)
    metrics.metadata.update(numbers)
    write_json(metrics.path, numbers)
