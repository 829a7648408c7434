"""Raw files -> image set."""

from kfp.dsl import Dataset, Metrics, Output

from components._base import component


@component("ingest")
def ingest(
    data: str, digest: str, side: int, classes: list, settings: dict, images: Output[Dataset], metrics: Output[Metrics]
):
    """`digest` is that of the data: it takes part in the cache's key and in nothing else."""
    from syntrial.config import IngestConfig
    from syntrial.ingest import ingest

    metrics.metadata.update(
        ingest(data, images.path, side=int(side), classes=classes, config=IngestConfig.of(settings))
    )
