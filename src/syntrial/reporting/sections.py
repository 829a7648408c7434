"""What stands in report.html, part by part: the answer first, then what it rests on, then what it does not say."""

from __future__ import annotations

import html
from typing import Any

from syntrial.config import StudyConfig
from syntrial.judging.verdict import NAMES
from syntrial.reporting import sentences, table
from syntrial.reporting.page import (
    Picture,
    Section,
    box,
    grid,
    listing,
    numeric,
    paragraph,
    picture,
    pictures,
    row_html,
)
from syntrial.reporting.results import PROTOCOLS, TITLES, Results, entries, judged
from syntrial.settings import settings_of

SIGNS = {"helped": "▲", "no evidence": "●", "hurt": "▼"}
PARTS = ("train", "val", "test", "external", "left out")
INGESTED = {
    "name": "name",
    "layout": "read as",
    "found": "files found",
    "used": "images used",
    "accepted": "accepted as they were",
    "converted": "converted",
    "warned": "with a warning",
    "rejected": "left out",
    "groups": "patients, or what stands for them",
    "ungrouped": "images whose patient is not known",
    "original_width": "width of the originals, px: least / median / most",
    "original_height": "height of the originals, px: least / median / most",
    "squeezed": "not square originally",
    "upsampled": "smaller than the side, and enlarged",
}
SETTING = ("setting", "value", "default", "meaning", "source of the default")
VALIDATED = [
    "arm",
    "validation images",
    "of them generated",
    "real, seen by its generators",
    "real, also trained as copies",
    "patients on both sides",
    "accuracy on generated",
    "accuracy on real",
]
MOST_WARNINGS = 40  # the rest is in ingest.csv


def all_sections(results: Results, study: StudyConfig, drawn: dict[str, list[Picture]]) -> list[Section]:
    """The page, in reading order."""
    return [
        Section("answer", "The answer", _answer(results)),
        Section("table", "Accuracy and loss", _tables(results)),
        Section("intervals", "How sure the answer is", _intervals(results, drawn["answers"])),
        Section("curves", "Learning curves", _curves(drawn["curves"])),
        Section("mistakes", "ROC curves and confusion matrices", _mistakes(results, drawn["roc"])),
        Section("samples", "Real and generated images", _samples(drawn["samples"])),
        Section("data", "The data", _data(results)),
        Section("contrast", "What validated and what trained", _contrast(results)),
        Section("resize", "The resize check", _resize(results)),
        Section("settings", "Every setting", _settings(study)),
        Section("erratum", "Erratum and contradictions", _erratum()),
        Section("warnings", "Warnings", _warnings(results)),
        Section("limits", "What this cannot say", listing(sentences.LIMITS)),
        Section("environment", "Environment", _environment(results)),
    ]


def opening(results: Results) -> str:
    """What stands under the title: what was asked, and how many warnings there are."""
    count = len(results["warnings"])
    link = f'<a href="#warnings">{count} {"warning" if count == 1 else "warnings"}</a>'
    notice = f'<p class="notice">⚠ {link} to read before believing a number.</p>' if count else ""
    return paragraph(sentences.question(results), "lead") + notice


def _answer(results: Results) -> str:
    cards = [_reference_card(results), *(_card(results, arm) for arm in judged(results))]
    return paragraph(sentences.headline(results), "lead") + f'<div class="cards">{"".join(cards)}</div>'


def _reference_card(results: Results) -> str:
    title = results["protocols"]["held_out"]["original"]["title"]
    texts = [f"On unseen patients: {sentences.reference(results)}", sentences.as_printed(results, "original")]
    return _card_html("", "■ reference", title, "what the others are measured against", texts)


def _card(results: Results, arm: str) -> str:
    entry = results["protocols"]["held_out"][arm]
    verdict, against = entry["verdict"], results["protocols"]["held_out"][entry["control"]]["title"]
    texts = [f"{verdict['sentence']}.", sentences.as_printed(results, arm)]
    answer = verdict["answer"]
    return _card_html(
        answer.replace(" ", "-"), f"{SIGNS[answer]} {answer}", entry["title"], f"against {against}", texts
    )


def _card_html(kind: str, answer: str, title: str, under: str, texts: list[str]) -> str:
    return (
        f'<article class="card {kind}"><h3>{html.escape(title)}</h3><small>{html.escape(under)}</small>'
        f'<div class="answer">{html.escape(answer)}</div>{"".join(map(paragraph, texts))}</article>'
    )


def _tables(results: Results) -> str:
    several = len(results["seeds"]) > 1
    spread = "mean ± standard deviation over seeds" if several else "a single seed, so no spread"
    note = (
        f"Ours: {spread}. Training figures are averages over the last epoch while learning, as the paper's; the "
        "training accuracy of the finished classifier stands beside the test figures. The paper has no held-out "
        "figures; its own are repeated there to compare."
    )
    if len(results["classes"]) > 2:
        note += " AUROC, sensitivity and specificity are means over the classes, each against all others."
    shown = "".join(map(numeric, table.tables(results)))
    elsewhere = sentences.elsewhere(results)
    return paragraph(note) + shown + paragraph(table.ERRATUM, "soft") + (paragraph(elsewhere) if elsewhere else "")


def _intervals(results: Results, drawn: list[Picture]) -> str:
    name = NAMES[results["metric"]]
    confidence = f"{results['confidence'] * 100:g} %"
    told = (
        "Each arm and its control were judged on the same images by classifiers of the same seeds. An arm's own "
        "intervals come from drawing patients again and again. Those of the differences rest on the spread between "
        "seeds, and on what seeds have in common from one drawing of patients to the next (Obuchowski and Rockette "
        f"1995); they are widened so that together they have {confidence}. The resize check's stands by itself."
    )
    header = [
        "arm",
        f"AUROC, {confidence} interval",
        f"accuracy, {confidence} interval",
        f"{name} minus control's, interval",
        "smallest effect",
        "answer",
    ]
    rows = [_interval_row(entry) for entry in entries(results, "held_out").values()]
    return paragraph(told) + pictures(drawn) + grid("Held-out test images", header, rows)


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


def _curves(drawn: list[Picture]) -> str:
    told = (
        "Numbered as in the paper. Lines are means over seeds, bands reach from the lowest to the highest. Running "
        "training figures are averages while the network still learns, with dropout; those at the end of the epoch "
        "are of the network as it then is. Held out, an epoch is as many steps as one pass over the original images, "
        "in every arm."
    )
    return paragraph(told) + pictures(drawn)


def _mistakes(results: Results, drawn: list[Picture]) -> str:
    parts = (("test", "held-out test images"), ("external", "images of another source"))
    tables = [
        _confusions(results, part, told)
        for part, told in parts
        if part in results["protocols"]["held_out"]["original"]["confusion"]
    ]
    return pictures(drawn) + "".join(map(numeric, tables))


def _confusions(results: Results, part: str, told: str) -> table.Table:
    """The confusion matrices of all arms, one in each row: columns are called classes, grouped by the true ones."""
    classes, arms = results["classes"], entries(results, "held_out").values()
    columns = [("", "arm"), *((f"truly {label}", f"called {called}") for label in classes for called in classes)]
    places = min(1, len(results["seeds"]) - 1)  # a mean over seeds need not be whole
    rows = [
        [entry["title"], *(f"{count:.{places}f}" for row in entry["confusion"][part] for count in row)]
        for entry in arms
    ]
    return table.Table(f"Confusion matrices on {told}: images, mean over seeds", columns, rows)


def _samples(drawn: list[Picture]) -> str:
    told = (
        "Training images of the held-out protocol, the first by the hash of their pixels: nobody chose them. "
        "Generated images that look alike point to a collapsed generator; that they look real says nothing about "
        "whether they help."
    )
    return paragraph(told) + f'<div class="strips">{"".join(map(picture, drawn))}</div>'


def _data(results: Results) -> str:
    held_out = results["data"]["held_out"]
    parts = [
        _ingested(held_out["ingest"], "The images"),
        _ingested(held_out["external"], "The images of another source"),
    ]
    parts += [_divided(facts, protocol, results["classes"]) for protocol, facts in results["data"].items()]
    rows = [
        _generator_row(protocol, name, facts)
        for protocol, facts in results["data"].items()
        for name in facts["generators"]
    ]
    header = ["generator", "real images", "shown", "started from", "drawn", "last readings", "diversity"]
    parts.append(
        grid(
            "Generators (diversity: how much drawn images differ from one another, as a share of what real ones do)",
            header,
            rows,
        )
    )
    return "".join(parts)


def _ingested(facts: dict[str, Any], what: str) -> str:
    told = [[words, _fact(facts[name])] for name, words in INGESTED.items() if name in facts]
    told += [[f"reason: {reason}", str(count)] for reason, count in facts.get("reasons", {}).items()]
    return grid(f"{what}, file by file in ingest.csv", ["", ""], told)


def _fact(value: Any) -> str:
    """A count, a group's {"how", "number"}, or [least, median, most]."""
    if isinstance(value, dict):
        return f"{value.get('number', '')} (by {value.get('how', '')})"
    if isinstance(value, list):
        return " / ".join(f"{number:g}" for number in value) or "-"
    return str(value)


def _divided(facts: dict[str, Any], protocol: str, classes: list[str]) -> str:
    shown = [part for part in PARTS if part in facts["counts"]]
    rows = [[f"real, {label}", *(_counted(facts["counts"][part][label]) for part in shown)] for label in classes]
    return grid(f"Real images (patients), {TITLES[protocol]}", ["", *shown], rows)


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


def _contrast(results: Results) -> str:
    told = (
        "A validation image that a generator made, or has learnt from, asks the classifier for what it was shown. As "
        "printed such images decide; held out there are none. In numbers, accuracies being means over seeds:"
    )
    blocks = [paragraph(told)]
    for protocol in PROTOCOLS:
        rows = [_validated_row(entry) for entry in entries(results, protocol).values()]
        blocks.append(grid(f"What validated each arm, {TITLES[protocol]}", VALIDATED, rows))
    header = ["arm", "real", *sorted(_generators(results)), "all", "epochs", "steps"]
    for protocol in PROTOCOLS:
        rows = [_trained_row(entry, header[2:-3]) for entry in entries(results, protocol).values()]
        blocks.append(grid(f"What each arm trained on, {TITLES[protocol]}", header, rows))
    return "".join(blocks)


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


def _resize(results: Results) -> str:
    check = results["resize"]
    if check is None:
        return paragraph(sentences.resized(results))
    header = ["original, held out", "test AUROC", "interval", "test accuracy", "interval"]
    rows = [
        _resize_row(f"{check[key]} px", check[which]) for key, which in (("full_side", "full"), ("side", "reduced"))
    ]
    return paragraph(sentences.resized(results)) + grid("The same classifier at both sizes", header, rows)


def _resize_row(name: str, entry: dict[str, Any]) -> list[str]:
    numbers, intervals = entry["numbers"], entry["intervals"]["test"]
    cells = (
        (sentences.spaced(table.spread(numbers[f"test_{key}"], 3)), _range(intervals[key]))
        for key in ("auroc", "accuracy")
    )
    return [name, *(cell for pair in cells for cell in pair)]


def _settings(study: StudyConfig) -> str:
    defaults = {row["name"]: row["value"] for row in settings_of(StudyConfig())}
    rows, section = [], ""
    for row in settings_of(study):
        head = row["name"].rpartition(".")[0]
        if head != section:
            rows.append(f'<tr class="section"><th scope="colgroup" colspan="5">{head}</th></tr>')
            section = head
        rows.append(_setting_row(row, defaults.get(row["name"], row["value"])))
    head = "".join(f'<th scope="col">{name}</th>' for name in SETTING)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    fixed = grid(
        "Fixed, and unsaid in the paper too", ["choice", "what is done"], map(list, sentences.CHOICES), kind=""
    )
    return box("Settings; those that differ from the default are marked ◆", body, "stacked") + fixed


def _setting_row(row: dict[str, Any], default: Any) -> str:
    changed = row["value"] != default
    cells = [
        ("◆ " if changed else "") + row["name"],
        _value(row["value"]),
        _value(default),
        row["meaning"],
        row["source"],
    ]
    return row_html(cells, "changed" if changed else "", names=SETTING[1:])


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else value or "(empty)"


def _erratum() -> str:
    others = listing(sentences.CONTRADICTIONS, ordered=True)
    return (
        paragraph(sentences.ERRATUM)
        + paragraph("Where else the paper contradicts itself:")
        + others
        + paragraph(f"The paper: {sentences.CITATION}.", "soft")
    )


def _warnings(results: Results) -> str:
    told = results["warnings"]
    more = (
        [f"and {len(told) - MOST_WARNINGS} more, in ingest.csv and results.json"] if len(told) > MOST_WARNINGS else []
    )
    return listing([*told[:MOST_WARNINGS], *more]) or paragraph("None.")


def _environment(results: Results) -> str:
    told = "The same study, data and code give the same results.json, bit for bit, on the same of these:"
    machines = [", ".join(f"{name} {value}" for name, value in machine.items()) for machine in results["machines"]]
    report = ", ".join(f"{name} {value}" for name, value in results["report"].items())
    digests = [f"images {TITLES[protocol]}: sha256 {facts['digest']}" for protocol, facts in results["data"].items()]
    return paragraph(told) + listing([*(f"training: {machine}" for machine in machines), f"report: {report}", *digests])
