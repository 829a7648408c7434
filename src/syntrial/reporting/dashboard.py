"""What a box tells the dashboard beside its result: numbers, a ROC curve with a confusion matrix, a page of pictures.

Everything is written to files too: the engine's local cache takes a box for undone when one of its outputs is not on
disk. The pages are plain SVG and HTML, so that a box need not load a plotting library; the report has the real figures.
"""

from __future__ import annotations

import base64
import csv
import html
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from syntrial.store import atomic

WIDTH, HEIGHT, MARGIN, LEFT = 520, 220, 30, 56  # px of a chart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito 2008
CSS = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:1.2rem;color:#1b1f24;background:#fff}h1{font-size:1.2rem}"
    "h2{font-size:1rem;margin:1.4rem 0 .3rem}img{max-width:100%;image-rendering:pixelated}"
    "svg{max-width:100%;height:auto}p{color:#57606a;max-width:46rem}"
)
CNN_CHARTS = {
    "Accuracy": ("running_accuracy", "train_accuracy", "val_accuracy"),
    "Loss": ("running_loss", "train_loss", "val_loss"),
}
Line = list[tuple[float, float]]


class Shown(Protocol):
    """What the engine hands a box to write to: a file, and what it keeps in its own database."""

    path: str
    metadata: dict[str, Any]


def show(metrics: Shown, numbers: dict[str, float]) -> None:
    """A verb's numbers, those that are finite: the engine fails a box for any other, after all its work."""
    finite = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
    metrics.metadata.update(finite)
    atomic.write_json(Path(metrics.path), finite)


def report_pages(report: str | Path, page: str | Path, summary: str | Path) -> None:
    """Copies the page and the summary out of a report, to where the dashboard shows them."""
    shutil.copyfile(Path(report) / "report.html", page)
    shutil.copyfile(Path(report) / "summary.md", summary)


def show_classifier(scores: str | Path, page: str | Path, classification: Shown, metrics: Shown) -> None:
    """All that the dashboard shows of an arm's classifiers: a page, the curve and matrix, and the numbers."""
    classifier_page(scores, page)
    show_classification(classification, scores)
    show(metrics, classifier_numbers(scores))


def show_classification(artifact: Shown, scores: str | Path) -> None:
    """The ROC curve of the mean over seeds and the confusion matrix summed over them, of the part that judges: test
    patients where there are some, else the part that validates.

    Args:
        scores: what train_classifier wrote.
    """
    import numpy as np  # both here: most boxes show no classification

    from syntrial.reporting.outcomes import Outcome

    outcome = Outcome.open(scores)
    part = "test" if "test" in outcome.predictions else "val"
    points = zip(*outcome.roc(part), strict=True)
    artifact.metadata["confidenceMetrics"] = [
        {"falsePositiveRate": float(fpr), "recall": float(tpr), "confidenceThreshold": min(float(threshold), 1.0)}
        for fpr, tpr, threshold in points
    ]
    artifact.metadata["confusionMatrix"] = {
        "annotationSpecs": [{"displayName": label} for label in outcome.about["classes"]],
        "rows": [{"row": row} for row in np.sum(outcome.confusion(part), axis=0).tolist()],
    }
    atomic.write_json(Path(artifact.path), artifact.metadata)


def classifier_numbers(scores: str | Path) -> dict[str, float]:
    """The means over seeds of what an arm's classifiers scored, by names such as test_auroc, val_accuracy and
    train_loss.

    Args:
        scores: what train_classifier wrote.
    """
    from syntrial.reporting.outcomes import Outcome

    return Outcome.open(scores).means()


def images_page(images: str | Path, path: str | Path) -> None:
    """An image set's contact sheet. `path`: the HTML file to write."""
    about = _json(Path(images) / "about.json")
    counts = ", ".join(f"{count:,} {label}" for label, count in about["counts"].items())
    told = f"{counts}; {about['side']} × {about['side']} px"
    _write(path, about.get("name") or f"{about['verb']} images", told, _picture(Path(images) / "sheet.png"))


def generator_page(generator: str | Path, path: str | Path) -> None:
    """Pictures at moments of the training and the curves of a trained generator, charted as it declares.

    Args:
        path: the HTML file to write.
    """
    folder = Path(generator)
    about, rows = _json(folder / "about.json"), _table(folder / "curves.csv")
    told = (
        f"{about['real_images']:,} real images, {about['images_shown']:,} shown, {about['steps']:,} steps. "
        "Pictures: the same images in each row, the earliest on top. Curves: by images shown."
    )
    charts = "".join(_chart(title, _lines(rows, "images_shown", names)) for title, names in about["charts"].items())
    _write(path, f"generator {about['name']}", told, _picture(folder / "samples.png") + charts)


def classifier_page(scores: str | Path, path: str | Path) -> None:
    """The curves of an arm's classifiers, their mean over seeds. `path`: the HTML file to write."""
    about, rows = _json(Path(scores) / "about.json"), _table(Path(scores) / "curves.csv")
    seeds = ", ".join(f"{seed:.0f}" for seed in sorted({row["seed"] for row in rows}))
    by_epoch = [[row for row in rows if row["epoch"] == epoch] for epoch in sorted({row["epoch"] for row in rows})]
    means = [{name: sum(row[name] for row in same) / len(same) for name in same[0]} for same in by_epoch]
    charts = "".join(_chart(title, _lines(means, "epoch", names)) for title, names in CNN_CHARTS.items())
    told = (
        f"{about['protocol'].replace('_', ' ')}; by epoch, the mean over seeds {seeds}; {about['steps']:,} steps each."
    )
    _write(path, f"classifier of {about['arm'].replace('_', ' ')}", told, charts)


def _chart(title: str, lines: dict[str, Line]) -> str:
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    (x_low, x_high), (y_low, y_high) = (_span([point[axis] for point in points]) for axis in (0, 1))

    def at(x: float, y: float) -> str:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - MARGIN)
        up = HEIGHT - MARGIN - (y - y_low) / (y_high - y_low) * (HEIGHT - 2 * MARGIN)
        return f"{across:.1f},{up:.1f}"

    drawn = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round" '
        f'points="{" ".join(at(*point) for point in [*line, *line[-1:]])}"/>'  # twice the last: a single one shows
        for colour, line in zip(COLOURS, lines.values(), strict=False)
    )
    return (
        f"<h2>{html.escape(title)}</h2>{_legend(list(lines))}{_frame(drawn, (x_low, x_high), (y_low, y_high), title)}"
    )


def _frame(drawn: str, x: tuple[float, float], y: tuple[float, float], title: str) -> str:
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    labels = [(LEFT - 6, bottom, "end", y[0]), (LEFT - 6, MARGIN + 4, "end", y[1])]
    labels += [(LEFT, bottom + 18, "start", x[0]), (right, bottom + 18, "end", x[1])]
    texts = "".join(
        f'<text x="{across}" y="{down}" text-anchor="{anchor}">{value:,.4g}</text>'
        for across, down, anchor, value in labels
    )
    axes = f'<path d="M{LEFT},{MARGIN}V{bottom}H{right}" fill="none" stroke="#57606a"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{html.escape(title)}" '
        f'font-size="12" fill="#57606a">{axes}{texts}{drawn}</svg>'
    )


def _legend(names: Sequence[str]) -> str:
    marks = (
        f'<span style="color:{colour}">━</span> {html.escape(name.replace("_", " "))}'
        for colour, name in zip(COLOURS, names, strict=False)
    )
    return f"<div>{' &nbsp; '.join(marks)}</div>"


def _lines(rows: list[dict[str, float]], across: str, names: Sequence[str]) -> dict[str, Line]:
    return {name: [(row[across], row[name]) for row in rows if math.isfinite(row[name])] for name in names}


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'


def _write(path: str | Path, title: str, told: str, body: str) -> None:
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{CSS}</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(told)}</p>{body}</body></html>\n"
    )
    Path(path).write_text(text, encoding="utf-8")


def _table(path: Path) -> list[dict[str, float]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
