"""What a box shows in the dashboard: numbers, a ROC curve with a confusion matrix, and a page of pictures.

Everything is also written to files: the engine's local cache treats a box as not done when one of its outputs is not on
disk. The pages are plain SVG and HTML, filled in by string.Template: small boxes write one, and Jinja2 would add 84 ms
to the 250 to 290 ms that ingest and pool take to start, a plotting library more. The report has the full figures.
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
from string import Template
from typing import Any, Protocol

from syntrial.store import atomic
from syntrial.words import counted

TEMPLATE = Path(__file__).parent / "templates" / "dashboard.html"
WIDTH, HEIGHT, MARGIN, LEFT = 520, 220, 30, 56  # px of a chart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito 2008
CNN_CHARTS = {
    "Accuracy": ("running_accuracy", "train_accuracy", "val_accuracy"),
    "Loss": ("running_loss", "train_loss", "val_loss"),
}
Line = list[tuple[float, float]]


class Shown(Protocol):
    """An output that the engine hands to a box: a file, and metadata that the engine keeps in its database."""

    path: str
    metadata: dict[str, Any]


def show(metrics: Shown, numbers: dict[str, float]) -> None:
    """Logs a verb's finite numbers. Others are left out, since the engine fails a box for one, after all its work."""
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
    """Logs the ROC curve of the mean over seeds and the confusion matrix summed over them: on the test images where
    there are any, else on the validation images.

    Args:
        scores: the folder that train_classifier wrote.
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
    """Writes the contact sheet of an image set to the HTML file `path`."""
    about = _json(Path(images) / "about.json")
    counts = ", ".join(f"{count:,} {label}" for label, count in about["counts"].items())
    summary = f"{counted(about['images'], 'image')} ({counts}); {about['side']} × {about['side']} px"
    _write(path, about.get("name") or f"{about['verb']} images", summary, _picture(Path(images) / "sheet.png"))


def generator_page(generator: str | Path, path: str | Path) -> None:
    """Writes the samples over time and the training curves of a generator, charted as it declares, to the HTML file
    `path`.
    """
    folder = Path(generator)
    about, rows = _json(folder / "about.json"), _table(folder / "curves.csv")
    summary = (
        f"Trained on {counted(about['real_images'], 'real image')} for {counted(about['steps'], 'step')} "
        f"({counted(about['images_shown'], 'image')} shown). Samples: one row per moment of the training, the earliest "
        "on top, always from the same random numbers. Curves: over images shown."
    )
    charts = "".join(_chart(title, _lines(rows, "images_shown", names)) for title, names in about["charts"].items())
    _write(path, f"generator {about['name']}", summary, _picture(folder / "samples.png") + charts)


def classifier_page(scores: str | Path, path: str | Path) -> None:
    """Writes the learning curves of an arm's classifiers, the mean over seeds, to the HTML file `path`."""
    about, rows = _json(Path(scores) / "about.json"), _table(Path(scores) / "curves.csv")
    seeds = ", ".join(f"{seed:.0f}" for seed in sorted({row["seed"] for row in rows}))
    by_epoch = [[row for row in rows if row["epoch"] == epoch] for epoch in sorted({row["epoch"] for row in rows})]
    means = [{name: sum(row[name] for row in same) / len(same) for name in same[0]} for same in by_epoch]
    charts = "".join(_chart(title, _lines(means, "epoch", names)) for title, names in CNN_CHARTS.items())
    mean = f"the mean over seeds {seeds}" if "," in seeds else f"seed {seeds}"
    summary = (
        f"{about['protocol'].replace('_', ' ').capitalize()}. Curves: {mean}, over epochs; "
        f"{counted(about['steps'], 'step')} per seed."
    )
    _write(path, f"classifier of {about['arm'].replace('_', ' ')}", summary, charts)


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
        f'points="{" ".join(at(*point) for point in [*line, *line[-1:]])}"/>'  # the last twice, to show a single point
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


def _write(path: str | Path, title: str, summary: str, body: str) -> None:
    page = Template(TEMPLATE.read_text(encoding="utf-8"))
    text = page.substitute(title=html.escape(title), summary=html.escape(summary), body=body)
    Path(path).write_text(text, encoding="utf-8")


def _table(path: Path) -> list[dict[str, float]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
