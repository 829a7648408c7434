"""Scores -> table, figures, verdict."""

from typing import List  # noqa: UP035  kfp reads the annotation as text

from kfp.dsl import HTML, Dataset, Input, Markdown, Metrics, Output

from components._base import component


@component("report")
def report(
    study: dict,
    classes: list,
    side: int,
    arms: list,
    seeds: list,
    images_per_class: int,
    faces_epochs: int,
    simple_epochs: int,
    transfer_epochs: int,
    classifier_epochs: int,
    ingest_settings: dict,
    split_settings: dict,
    faces_gan: dict,
    simple_gan: dict,
    transfer_gan: dict,
    conventional: dict,
    classifier: dict,
    as_printed: Input[List[Dataset]],  # noqa: UP006
    held_out: Input[List[Dataset]],  # noqa: UP006
    as_printed_images: Input[Dataset],
    held_out_images: Input[Dataset],
    report: Output[Dataset],
    page: Output[HTML],
    table: Output[Markdown],
    metrics: Output[Metrics],
    full_size: Input[Dataset] = None,
):
    """The settings are those of this run; `study` may hold others."""
    given = locals()
    import shutil

    from syntrial import config
    from syntrial.report import report as write
    from syntrial.reporting.dashboard import show

    parameters = {name: given[name] for name in config.TURNED}
    numbers = write(
        report.path,
        study=config.turned(study, parameters).model_dump(),
        as_printed=[one.path for one in as_printed],
        held_out=[one.path for one in held_out],
        as_printed_images=as_printed_images.path,
        held_out_images=held_out_images.path,
        full_size=full_size.path if full_size else None,
    )
    show(metrics, numbers)
    shutil.copyfile(f"{report.path}/report.html", page.path)
    shutil.copyfile(f"{report.path}/summary.md", table.path)
