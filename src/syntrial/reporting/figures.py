"""Every picture of the report, as PNG: narrow enough for a phone, in colours that colour-blind readers distinguish.

The palette is that of Okabe and Ito 2008, and nothing is shown by colour alone: lines differ in dashes and marks too.
Shapes: S seeds, E epochs, N images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from syntrial.arms import REFERENCE
from syntrial.imageset import REAL, ImageSet
from syntrial.judging.metrics import Floats, roc_points
from syntrial.judging.verdict import LOWER_IS_BETTER, NAMES
from syntrial.reporting.outcomes import Outcome
from syntrial.reporting.page import Picture
from syntrial.reporting.paper import PAPER_ROWS
from syntrial.reporting.results import JUDGING, TITLES, Results, judged
from syntrial.words import counted

FIRST_CURVE = {
    "original": 4,
    "conventional": 6,
    "simple_gan": 8,
    "transfer_gan": 10,
}  # the paper's number of the accuracy curve
DPI = 140
WIDTH = 4.8  # inches; 10 pt text is still 5 pt high where a phone shows the picture at half its size
BLUE, ORANGE, GREEN, RED, PINK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#595959"
LINES: dict[str, tuple[str, str]] = {  # arm -> colour, dashes
    "original": ("#000000", "-"),
    "conventional": (ORANGE, "--"),
    "simple_gan": (BLUE, "-"),
    "transfer_gan": (RED, "-."),
    "conventional_online": (PINK, ":"),
    "duplicates": (GREEN, "--"),
}
DASHES = ("-", "--", "-.", ":")
ANSWERS = {"helped": (BLUE, "^"), "no evidence": (GREY, "o"), "hurt": (RED, "v")}
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "text.parse_math": False,  # a title may hold $
}
BACKED = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # text over lines stays legible
SAMPLES = 8  # images in a strip
CELL = 96  # px an image in a strip; half of it where there are many classes
MANY_CLASSES = 6
GRID = np.linspace(0, 1, 201)  # false positive rates at which ROC curves are averaged


def draw_all(
    folder: Path, results: Results, outcomes: dict[str, dict[str, Outcome]], images: ImageSet
) -> dict[str, list[Picture]]:
    """All pictures of a report, by the part of the page they belong to: curves, answers, roc, samples."""
    parts = [part for part in JUDGING if part in outcomes["held_out"]["original"].predictions]
    return {
        "curves": [
            curve(folder, number + offset, arm, kind, outcomes)
            for arm, number in FIRST_CURVE.items()
            if arm in outcomes["held_out"]
            for offset, kind in enumerate(("accuracy", "loss"))
        ],
        "answers": [
            comparison(folder, results),
            *([differences(folder, results)] if len(outcomes["held_out"]) > 1 else []),
        ],
        "roc": [roc(folder, outcomes["held_out"], part) for part in parts],
        "samples": list(samples(folder, images)),
    }


def curve(folder: Path, number: int, arm: str, kind: str, outcomes: dict[str, dict[str, Outcome]]) -> Picture:
    """One of the paper's figures 4 to 11, ours under each protocol, with the paper's final values as diamonds.

    Args:
        kind: accuracy or loss.
    """
    title = outcomes["held_out"][arm].recipe.title
    with _figure(folder / f"figure-{number:02d}.png", (WIDTH, 5.6), rows=len(outcomes)) as axes:
        for ax, (protocol, arms) in zip(axes, outcomes.items(), strict=True):
            _learning(ax, arms[arm], kind)
            _paper_marks(ax, arm, kind)
            ax.set(title=f"{title}: {TITLES[protocol]}", ylabel=kind)
        axes[0].tick_params(labelbottom=False)
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].set_xlabel("epoch (held out: passes of the original images, equal steps)")
        _legend_below(axes[0], ncols=2)
    return Picture(
        folder / f"figure-{number:02d}.png",
        f"Figure {number} of the paper, ours: {kind} of {title}.",
        f"{kind} by epoch of {title}, training and validation, under each protocol: mean over seeds, band from lowest "
        "to highest",
    )


def comparison(folder: Path, results: Results) -> Picture:
    """For each arm the paper's validation accuracy, ours as printed, and ours on held-out test images."""
    kinds: list[tuple[str, str, str, Callable[[str], tuple[float, float] | None]]] = [
        ("paper, validation", GREY, "D", _paper_accuracy),
        ("ours as printed, validation", ORANGE, "s", lambda arm: _mean_sd(results, "as_printed", arm, "val_accuracy")),
        ("ours held out, test", BLUE, "o", lambda arm: _mean_sd(results, "held_out", arm, "test_accuracy")),
    ]
    arms = results["arms"]
    with _figure(folder / "comparison.png", (WIDTH, 1.3 + 0.62 * len(arms))) as (ax,):
        for k, (name, colour, mark, value_of) in enumerate(kinds):
            points = [(value, 0.13 * (1 - k) - row) for row, arm in enumerate(arms) if (value := value_of(arm))]
            means, spreads = zip(*(value for value, _ in points), strict=True) if points else ((), ())
            ax.errorbar(
                means,
                [y for _, y in points],
                xerr=spreads,
                fmt=mark,
                color=colour,
                mfc="white" if mark == "D" else colour,
                capsize=2,
                label=name,
            )
        _arm_names(ax, results, arms)
        ax.set(xlabel="accuracy (whiskers: standard deviation over seeds)")
        _legend_below(ax, ncols=1)
    return Picture(
        folder / "comparison.png",
        "The same arms counted three ways.",
        "accuracy of each arm: the paper's validation, ours as printed, ours on held-out test images; the numbers are "
        "in the tables",
    )


def differences(folder: Path, results: Results) -> Picture:
    """Each arm's difference from its control, its interval, and the smallest effect that the study would detect."""
    entries = judged(results)
    name = NAMES[results["metric"]]
    better = "left" if results["metric"] in LOWER_IS_BETTER else "right"
    with _figure(folder / "differences.png", (WIDTH, 1.3 + 0.62 * len(entries))) as (ax,):
        ax.axvline(0, color="black", lw=1)
        for row, entry in enumerate(entries.values()):
            verdict = entry["verdict"]
            colour, mark = ANSWERS[verdict["answer"]]
            ax.plot(
                [-verdict["smallest_effect"], verdict["smallest_effect"]],
                [-row, -row],
                color="#d0d0d0",
                lw=9,
                solid_capstyle="butt",
                zorder=1,
            )
            ax.plot([verdict["low"], verdict["high"]], [-row, -row], color=colour, lw=2, zorder=2)
            ax.plot(verdict["difference"], -row, mark, color=colour, ms=8, zorder=3)
        _arm_names(ax, results, list(entries), controls=True)
        ax.set(
            xlabel=f"difference in {name} ({better} is better)\ngrey bar: effects found less than four times in five"
        )
    return Picture(
        folder / "differences.png",
        f"Arm minus control, {name} on held-out test images.",
        "; ".join(entry["verdict"]["sentence"] for entry in entries.values()),
    )


def roc(folder: Path, held_out: dict[str, Outcome], part: str) -> Picture:
    """ROC curves on the held-out images of `part`, averaged over seeds (beyond two classes, over classes too)."""
    with _figure(folder / f"roc-{part}.png", (WIDTH, WIDTH - 0.1)) as (ax,):
        ax.plot([0, 1], [0, 1], color="#b0b0b0", lw=1)
        lines = lines_of(held_out)
        for arm, outcome in held_out.items():
            colour, dashes = lines[arm]
            ax.plot(GRID, mean_roc(outcome, part), dashes, color=colour, lw=1.8, label=outcome.recipe.title)
        ax.set(
            xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal"
        )
        ax.legend(loc="lower right")
    judged_on = {"test": "held-out test images", "external": "images from another source"}[part]
    return Picture(
        folder / f"roc-{part}.png",
        f"ROC curves on {judged_on}.",
        f"ROC curve of each arm on {judged_on}; the areas are in the table",
    )


def lines_of(arms: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each arm: those of LINES, or a pair that LINES does not use; arms of a study's own differ in
    colour as long as there is one.
    """
    colours = dict.fromkeys(colour for arm, (colour, _) in LINES.items() if arm != REFERENCE)
    pairs = ((colour, dashes) for dashes, colour in product(DASHES, colours))
    spare = cycle(pair for pair in pairs if pair not in LINES.values())
    return {arm: LINES[arm] if arm in LINES else next(spare) for arm in arms}


def mean_roc(outcome: Outcome, part: str) -> Floats:
    """True positive rates at GRID. Fawcett 2006, section 7.1: averaged vertically."""
    curves = []
    for seen in outcome.predictions[part]:
        classes = seen.prob.shape[1]
        for k in [1] if classes == 2 else range(classes):
            fpr, tpr, _ = roc_points(seen.prob[:, k], seen.label == k)
            curves.append(np.interp(GRID, fpr, tpr))
    mean: Floats = np.mean(curves, axis=0)
    return mean


def samples(folder: Path, images: ImageSet) -> Iterator[Picture]:
    """For each class a strip of real images and one for each kind of generator: the first by hash."""
    cell = CELL if len(images.classes) <= MANY_CLASSES else CELL // 2
    kinds = [REAL, *dict.fromkeys(row.source.split("/")[0] for row in images.rows if row.source != REAL)]
    for k, label in enumerate(images.classes):
        for kind in kinds:
            rows = [(row.sha256, i) for i, row in enumerate(images.rows) if row.label == label and row.split == "train"]
            chosen = [i for _, i in sorted(rows) if images.rows[i].source.split("/")[0] == kind]
            if chosen:
                path = folder / f"samples-{k}-{_slug(label)}-{kind}.png"
                _strip(images, chosen[:SAMPLES], cell).save(path, optimize=True)
                origin = "real" if kind == REAL else f"drawn by {kind}"
                count = counted(len(chosen[:SAMPLES]), "image")
                yield Picture(path, f"{label}: {origin}", f"{count} of class {label}, {origin}")


def _strip(images: ImageSet, positions: list[int], cell: int) -> Image.Image:
    strip = Image.new("L", (SAMPLES * (cell + 2) - 2, cell), 255)
    for column, pixels_SS in enumerate(images.pixels(positions)):
        strip.paste(Image.fromarray(pixels_SS).resize((cell, cell), Image.Resampling.LANCZOS), (column * (cell + 2), 0))
    return strip


@contextmanager
def _figure(path: Path, inches: tuple[float, float], rows: int = 1) -> Iterator[list[Axes]]:
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):  # not the user's matplotlibrc
        figure = Figure(figsize=inches, layout="constrained")
        yield list(figure.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0])
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _legend_below(ax: Axes, ncols: int) -> None:
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=ncols)


def _learning(ax: Axes, outcome: Outcome, kind: str) -> None:
    """Running and true training figures and validation: mean over seeds, with a band from lowest to highest."""
    epoch_E = outcome.curves["epoch"][0]
    mark = "o" if len(epoch_E) == 1 else None
    for name, column, colour, dashes in (
        ("training, running", "running", BLUE, "-"),
        ("training, end of epoch", "train", "#56B4E9", ":"),
        ("validation", "val", RED, "--"),
    ):
        value_SE = outcome.curves[f"{column}_{kind}"]
        ax.plot(epoch_E, value_SE.mean(axis=0), dashes, color=colour, label=name, lw=1.8, marker=mark)
        ax.fill_between(epoch_E, value_SE.min(axis=0), value_SE.max(axis=0), color=colour, alpha=0.15, lw=0)


def _paper_marks(ax: Axes, arm: str, kind: str) -> None:
    paper = PAPER_ROWS.get(arm)
    if paper is None:
        return
    for part, colour, name in (("train", BLUE, "paper's last, training"), ("val", RED, "paper's last, validation")):
        ax.plot(
            1.0,
            getattr(paper, f"{part}_{kind}"),
            "D",
            transform=ax.get_yaxis_transform(),
            color=colour,
            mfc="white",
            clip_on=False,
            label=name,
            zorder=5,
        )


def _arm_names(ax: Axes, results: Results, arms: list[str], controls: bool = False) -> None:
    """Names above their rows instead of to the left, where a phone has no room."""
    known = results["protocols"]["held_out"]
    for row, arm in enumerate(arms):
        control = known[arm]["control"] if controls else ""
        against = f" vs {known[control]['title']}" if control else ""
        ax.text(
            0,
            -row + 0.22,
            f"{known[arm]['title']}{against}",
            transform=ax.get_yaxis_transform(),
            va="bottom",
            fontsize=9,
            bbox=BACKED,
        )
    ax.set(yticks=[], ylim=(-len(arms) + 0.6, 0.75))
    ax.spines["left"].set_visible(False)


def _paper_accuracy(arm: str) -> tuple[float, float] | None:
    paper = PAPER_ROWS.get(arm)
    return (paper.val_accuracy, 0.0) if paper else None


def _mean_sd(results: Results, protocol: str, arm: str, name: str) -> tuple[float, float]:
    number = results["protocols"][protocol][arm]["numbers"][name]
    return number["mean"], number["sd"] or 0.0


def _slug(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "class"
