"""Scores -> table, figures, verdict."""

from typing import List  # noqa: UP035  kfp reads the annotation as text

from kfp.dsl import HTML, Dataset, Input, Markdown, Metrics, Output

from components._base import component


@component("report")
def report(
    study: dict,
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
    """`study` is the output of settle."""
    from syntrial.report import report as write
    from syntrial.reporting.dashboard import report_pages, show

    printed, held = [one.path for one in as_printed], [one.path for one in held_out]
    images = {"as_printed_images": as_printed_images.path, "held_out_images": held_out_images.path}
    full = full_size.path if full_size else None
    numbers = write(report.path, study=study, as_printed=printed, held_out=held, full_size=full, **images)
    report_pages(report.path, page.path, table.path)
    show(metrics, numbers)
