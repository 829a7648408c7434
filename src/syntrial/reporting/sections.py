"""The sections of report.html, as blocks: the answer first, then what it rests on, then its limits."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from syntrial.arms import PROTOCOLS
from syntrial.config import StudyConfig
from syntrial.judging.verdict import NAMES
from syntrial.reporting import sentences, table
from syntrial.reporting.page import (
    Block,
    Card,
    Cards,
    Gallery,
    Grid,
    Listing,
    Numbers,
    Paragraph,
    Picture,
    Section,
    Setting,
    Settings,
)
from syntrial.reporting.results import TITLES, Results, entries, judged
from syntrial.settings import settings_of

SIGNS = {"helped": "▲", "no evidence": "●", "hurt": "▼"}
PARTS = ("train", "val", "test", "external", "left out")
INGESTED = {
    "name": "name",
    "layout": "layout",
    "found": "files found",
    "used": "images used",
    "accepted": "accepted unchanged",
    "converted": "converted",
    "warned": "with a warning",
    "rejected": "rejected",
    "groups": "patients, or groups in their place",
    "ungrouped": "images without a known patient",
    "original_width": "width of the originals, px: min / median / max",
    "original_height": "height of the originals, px: min / median / max",
    "squeezed": "originals that are not square",
    "upsampled": "originals below this side, enlarged",
}
SETTING = ["setting", "value", "default", "meaning", "source of the default"]
VALIDATED = [
    "arm",
    "validation images",
    "generated",
    "real, seen by its generators",
    "real, with copies in training",
    "patients also in training",
    "accuracy, generated images",
    "accuracy, real images",
]
MOST_WARNINGS = 40  # all are in results.json


def all_sections(results: Results, study: StudyConfig, drawn: dict[str, list[Picture]]) -> list[Section]:
    """The page, in reading order."""
    return [
        Section("answer", "The answer", _answer(results)),
        Section("table", "Accuracy and loss", _tables(results)),
        Section("intervals", "How certain the answer is", _intervals(results, drawn["answers"])),
        Section("curves", "Learning curves", _curves(drawn["curves"])),
        Section("mistakes", "ROC curves and confusion matrices", _mistakes(results, drawn["roc"])),
        Section("samples", "Real and generated images", _samples(drawn["samples"])),
        Section("data", "Data", _data(results)),
        Section("contrast", "Training and validation images", _contrast(results)),
        Section("resize", "Resize check", _resize(results)),
        Section("settings", "Settings", _settings(study)),
        Section("erratum", "Erratum and contradictions", _erratum()),
        Section("warnings", "Warnings", _warnings(results)),
        Section("limits", "Limits", [Listing(list(sentences.LIMITS))]),
        Section("environment", "Environment", _environment(results)),
    ]


def _answer(results: Results) -> list[Block]:
    cards = [_reference_card(results), *(_card(results, arm) for arm in judged(results))]
    return [Paragraph(sentences.headline(results), "lead"), Cards(cards)]


def _reference_card(results: Results) -> Card:
    title = results["protocols"]["held_out"]["original"]["title"]
    texts = [f"On unseen patients: {sentences.reference(results)}", sentences.as_printed(results, "original")]
    return Card("", "■ reference", title, "what the others are compared with", texts)


def _card(results: Results, arm: str) -> Card:
    entry = results["protocols"]["held_out"][arm]
    verdict, against = entry["verdict"], results["protocols"]["held_out"][entry["control"]]["title"]
    texts = [f"{verdict['sentence']}.", sentences.as_printed(results, arm)]
    answer = verdict["answer"]
    style = answer.replace(" ", "-")
    return Card(style, f"{SIGNS[answer]} {answer}", entry["title"], f"against {against}", texts)


def _tables(results: Results) -> list[Block]:
    several = len(results["seeds"]) > 1
    spread = "mean ± standard deviation over seeds" if several else "a single seed, so no spread"
    note = (
        f"Ours: {spread}. Training figures are running averages over the last epoch, as in the paper; the training "
        "accuracy of the finished classifier is listed with the test figures. The paper has no held-out figures; its "
        "printed figures are repeated there for comparison."
    )
    if len(results["classes"]) > 2:
        note += " AUROC, sensitivity and specificity are means over the classes, each against all others."
    elsewhere = sentences.elsewhere(results)
    return [
        Paragraph(note),
        *map(Numbers, table.tables(results)),
        Paragraph(table.ERRATUM, "soft"),
        *([Paragraph(elsewhere)] if elsewhere else []),
    ]


def _intervals(results: Results, drawn: list[Picture]) -> list[Block]:
    name = NAMES[results["metric"]]
    confidence = f"{results['confidence'] * 100:g} %"
    text = (
        "Each arm and its control were evaluated on the same images, by classifiers with the same seeds. The interval "
        "of a single arm is a bootstrap over patients. The interval of a difference rests on the variation between "
        "seeds and on the covariance of seeds over resampled patients (Obuchowski and Rockette 1995); these intervals "
        f"are widened so that together they have {confidence} confidence. That of the resize check is not widened."
    )
    header = [
        "arm",
        f"AUROC, {confidence} interval",
        f"accuracy, {confidence} interval",
        f"{name} minus that of the control, interval",
        "detectable effect",
        "answer",
    ]
    rows = [_interval_row(entry) for entry in entries(results, "held_out").values()]
    return [Paragraph(text), Gallery(drawn), Grid("Held-out test images", header, rows)]


def _interval_row(entry: dict[str, Any]) -> list[str]:
    numbers, intervals, verdict = entry["numbers"], entry["intervals"]["test"], entry.get("verdict")
    scored = [f"{numbers[f'test_{name}']['mean']:.3f} ({_range(intervals[name])})" for name in ("auroc", "accuracy")]
    if verdict is None:
        return [entry["title"], *scored, "-", "-", "reference"]
    difference = f"{verdict['difference']:+.3f} ({_range([verdict['low'], verdict['high']], '+')})"
    smallest = f"{verdict['smallest_effect']:.3f}" if verdict["standard_error"] else "unknown"
    return [entry["title"], *scored, difference, smallest, f"{SIGNS[verdict['answer']]} {verdict['answer']}"]


def _range(low_high: list[float], sign: str = "") -> str:
    return " to ".join(f"{value:{sign}.3f}" for value in low_high)


def _curves(drawn: list[Picture]) -> list[Block]:
    text = (
        "Figures have the paper's numbers. Lines are means over seeds; bands reach from the lowest to the highest "
        "seed. Running training figures are averages over an epoch during training, with dropout; those at the end of "
        "an epoch are measured without dropout. Held out, an epoch has the same number of steps in every arm: one pass "
        "over the original images."
    )
    return [Paragraph(text), Gallery(drawn)]


def _mistakes(results: Results, drawn: list[Picture]) -> list[Block]:
    parts = (("test", "held-out test images"), ("external", "images from another source"))
    tables = [
        _confusions(results, part, images)
        for part, images in parts
        if part in results["protocols"]["held_out"]["original"]["confusion"]
    ]
    return [Gallery(drawn), *map(Numbers, tables)]


def _confusions(results: Results, part: str, images: str) -> table.Table:
    """The confusion matrices of all arms, one per row: a column per predicted class, grouped by the true class."""
    classes, arms = results["classes"], entries(results, "held_out").values()
    columns = [("", "arm"), *((f"true {label}", f"predicted {other}") for label in classes for other in classes)]
    places = min(1, len(results["seeds"]) - 1)  # a mean over seeds need not be whole
    rows = [
        [entry["title"], *(f"{count:.{places}f}" for row in entry["confusion"][part] for count in row)]
        for entry in arms
    ]
    return table.Table(f"Confusion matrices on {images}: number of images, mean over seeds", columns, rows)


def _samples(drawn: list[Picture]) -> list[Block]:
    text = (
        "Training images of the held-out protocol, selected by the hash of their pixels, not by hand. Generated images "
        "that look alike indicate a collapsed generator; realistic ones are no evidence that they help."
    )
    return [Paragraph(text), Gallery(drawn, "strips")]


def _data(results: Results) -> list[Block]:
    held_out = results["data"]["held_out"]
    blocks: list[Block] = [
        _ingested(held_out["ingest"], "The images"),
        _ingested(held_out["external"], "The images from another source"),
    ]
    blocks += [_divided(facts, protocol, results["classes"]) for protocol, facts in results["data"].items()]
    rows = [
        _generator_row(protocol, name, facts)
        for protocol, facts in results["data"].items()
        for name in facts["generators"]
    ]
    header = ["generator", "real images", "shown", "started from", "drawn", "last readings", "diversity"]
    caption = "Generators (diversity: how much their images differ from one another, relative to real ones)"
    return [*blocks, Grid(caption, header, rows)]


def _ingested(facts: dict[str, Any], what: str) -> Grid:
    rows = [[words, _fact(facts[name])] for name, words in INGESTED.items() if name in facts]
    rows += [[f"reason: {reason}", str(count)] for reason, count in facts.get("reasons", {}).items()]
    return Grid(f"{what}, file by file in ingest.csv", ["", ""], rows)


def _fact(value: Any) -> str:
    """A count, the groups' {"how", "number"}, or [minimum, median, maximum]."""
    if isinstance(value, dict):
        return f"{value.get('number', '')} (by {value.get('how', '')})"
    if isinstance(value, list):
        return " / ".join(f"{number:g}" for number in value) or "-"
    return str(value)


def _divided(facts: dict[str, Any], protocol: str, classes: list[str]) -> Grid:
    shown = [part for part in PARTS if part in facts["counts"]]
    rows = [[f"real, {label}", *(_counted(facts["counts"][part][label]) for part in shown)] for label in classes]
    return Grid(f"Real images (patients), {TITLES[protocol]}", ["", *shown], rows)


def _counted(count: dict[str, int]) -> str:
    return f"{count['images']} ({count['groups']})"


def _generator_row(protocol: str, name: str, facts: dict[str, Any]) -> list[str]:
    about = facts["generators"][name]
    known = ("step", "images_shown", "diversity")
    readings = {reading: value for reading, value in about.get("final", {}).items() if reading not in known}
    diversity = f"{about['diversity']:.2f}" if "diversity" in about else ""
    counts = [str(about.get(key, "")) for key in ("real_images", "images_shown")]
    return [
        f"{name}, {TITLES[protocol]}",
        *counts,
        about.get("started_from") or "nothing",
        str(facts["synthetic"].get(name, 0)),
        ", ".join(f"{reading} {value:.2f}" for reading, value in readings.items()),
        diversity,
    ]


def _contrast(results: Results) -> list[Block]:
    text = (
        "Validation images that a generator made or was trained on favour the arms with that generator's images. As "
        "printed, such images are part of the validation; held out, they are not. Accuracies are means over seeds."
    )
    blocks: list[Block] = [Paragraph(text)]
    for protocol in PROTOCOLS:
        rows = [_validated_row(entry) for entry in entries(results, protocol).values()]
        blocks.append(Grid(f"Validation images of each arm, {TITLES[protocol]}", VALIDATED, rows))
    header = ["arm", "real", *sorted(_generators(results)), "all", "epochs", "steps"]
    for protocol in PROTOCOLS:
        rows = [_trained_row(entry, header[2:-3]) for entry in entries(results, protocol).values()]
        blocks.append(Grid(f"Training images of each arm, {TITLES[protocol]}", header, rows))
    return blocks


def _validated_row(entry: dict[str, Any]) -> list[str]:
    seen = entry["validation"]
    counts = [
        str(seen.get(name, ""))
        for name in ("images", "synthetic", "seen_by_generators", "also_trained", "groups_that_train")
    ]
    right = [
        table.figure(seen["accuracy"][kind]) if kind in seen["accuracy"] else "-" for kind in ("generated", "real")
    ]
    return [entry["title"], *counts, *right]


def _generators(results: Results) -> set[str]:
    return {name for facts in results["data"].values() for name in facts["synthetic"]}


def _trained_row(entry: dict[str, Any], generators: list[str]) -> list[str]:
    counts = (entry["counts"] or {}).get("train", {})
    epochs = "" if entry["epochs"] is None else f"{entry['epochs']:.4g}"
    return [
        entry["title"],
        *(str(counts.get(name, 0)) for name in ("real", *generators)),
        str(entry["train_images"]),
        epochs,
        str(entry["steps"]),
    ]


def _resize(results: Results) -> list[Block]:
    check = results["resize"]
    if check is None:
        return [Paragraph(sentences.resized(results))]
    header = ["original, held out", "test AUROC", "interval", "test accuracy", "interval"]
    rows = [
        _resize_row(f"{check[key]} px", check[which]) for key, which in (("full_side", "full"), ("side", "reduced"))
    ]
    return [Paragraph(sentences.resized(results)), Grid("The same classifier at both sizes", header, rows)]


def _resize_row(name: str, entry: dict[str, Any]) -> list[str]:
    numbers, intervals = entry["numbers"], entry["intervals"]["test"]
    cells = (
        (sentences.spaced(table.spread(numbers[f"test_{key}"], 3)), _range(intervals[key]))
        for key in ("auroc", "accuracy")
    )
    return [name, *(cell for pair in cells for cell in pair)]


def _settings(study: StudyConfig) -> list[Block]:
    defaults = {row["name"]: row["value"] for row in settings_of(StudyConfig())}
    by_section = groupby(settings_of(study), key=lambda row: row["name"].rpartition(".")[0])
    sections = [
        (section, [_setting(row, defaults.get(row["name"], row["value"])) for row in rows])
        for section, rows in by_section
    ]
    fixed = [list(choice) for choice in sentences.CHOICES]
    return [
        Settings("Settings; those that differ from the default are marked ◆", SETTING, sections),
        Grid("Fixed choices, which the paper does not state", ["choice", "what is done"], fixed, style=""),
    ]


def _setting(row: dict[str, Any], default: Any) -> Setting:
    cells = [_value(row["value"]), _value(default), row["meaning"], row["source"]]
    return Setting(row["name"], row["value"] != default, cells)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else value or "(empty)"


def _erratum() -> list[Block]:
    return [
        Paragraph(sentences.ERRATUM),
        Paragraph("Other contradictions in the paper:"),
        Listing(list(sentences.CONTRADICTIONS), ordered=True),
        Paragraph(f"The paper: {sentences.CITATION}.", "soft"),
    ]


def _warnings(results: Results) -> list[Block]:
    warnings = results["warnings"]
    if not warnings:
        return [Paragraph("None.")]
    more = len(warnings) - MOST_WARNINGS
    rest = [f"and {more} more, in ingest.csv and results.json"] if more > 0 else []
    return [Listing([*warnings[:MOST_WARNINGS], *rest])]


def _environment(results: Results) -> list[Block]:
    text = "The same study, data and code give the same results.json, bit for bit, in the same environment:"
    machines = [", ".join(f"{name} {value}" for name, value in machine.items()) for machine in results["machines"]]
    report = ", ".join(f"{name} {value}" for name, value in results["report"].items())
    digests = [f"images {TITLES[protocol]}: sha256 {facts['digest']}" for protocol, facts in results["data"].items()]
    return [
        Paragraph(text),
        Listing([*(f"training: {machine}" for machine in machines), f"report: {report}", *digests]),
    ]
