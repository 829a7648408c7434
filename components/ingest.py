"""Raw files -> image set."""

from kfp.dsl import HTML, Dataset, Metrics, Output

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
    page: Output[HTML],
    metrics: Output[Metrics],
    instead: dict = None,  # noqa: RUF013  the engine knows no unions
):
    """`digest` is the digest of the data at the start of the run; the cache stores the images under it. `instead` holds
    settings for this set only, which override `settings`.
    """
    from syntrial.config import IngestConfig
    from syntrial.digest import refuse_changed
    from syntrial.ingest import ingest
    from syntrial.reporting.dashboard import images_page, show

    config = IngestConfig.of(settings, **(instead or {}))
    show(metrics, ingest(data, images.path, side=int(side), classes=classes, config=config, name=name))
    refuse_changed(data, digest)
    images_page(images.path, page.path)
