"""Verb: scores of every arm under both protocols -> table, figures, verdicts, and one page that a person reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from syntrial import __version__
from syntrial.config import StudyConfig
from syntrial.imageset import ImageSet, about_parent
from syntrial.progress import Progress
from syntrial.reporting import sentences, table
from syntrial.reporting.outcomes import Outcome, gathered, refuse_other_settings, refuse_strangers, refuse_unequal
from syntrial.reporting.page import Picture, document
from syntrial.reporting.results import Results, flat, judged, results_of
from syntrial.reporting.sections import all_sections, opening
from syntrial.store import atomic


def report(
    out: str | Path,
    *,
    study: dict[str, Any],
    as_printed: Sequence[str | Path],
    held_out: Sequence[str | Path],
    as_printed_images: str | Path,
    held_out_images: str | Path,
    full_size: str | Path | None,
) -> dict[str, float]:
    """Writes report.html, summary.md, table.md, table.csv, results.json and figures/*.png to the folder `out`.

    Args:
        study: the settings of the whole study.
        as_printed, held_out: folders of scores, one an arm.
        as_printed_images, held_out_images: the pooled sets that the arms were chosen from.
        full_size: scores of arm `original`, held out, on images at full size; None where the resize check is off.

    Returns:
        Every mean over seeds, and the verdicts' numbers, by names such as "held_out.simple_gan.test_auroc".

    Raises:
        ConfigError: settings that are impossible.
        DataError: a folder that is not what it should be.
        DegenerateError: an arm missing, trained otherwise than the study says or on another pooled set, or judged on
            other images or seeds than its control; a part without some class.
        LeakError: held out, something was judged on that is no real image of that part.
    """
    whole = StudyConfig.of(study)
    images = {"as_printed": ImageSet.open(as_printed_images), "held_out": ImageSet.open(held_out_images)}
    folders = {"as_printed": as_printed, "held_out": held_out}
    outcomes = {
        protocol: gathered([Outcome.open(folder) for folder in given], protocol, list(whole.recipes), whole.seeds)
        for protocol, given in folders.items()
    }
    for protocol, arms in outcomes.items():
        refuse_strangers(whole, arms, images[protocol])
    refuse_unequal(outcomes["held_out"], images["held_out"])
    full = Outcome.open(full_size) if full_size else None
    if full:
        refuse_other_settings(whole, full, whole.resize_check.full_side)
    results = results_of(whole, outcomes, images, full)
    from syntrial.reporting.figures import draw_all

    with Progress("report", total=0, unit="pages"), atomic.new_folder(out) as draft:
        (draft / "figures").mkdir()
        drawn = draw_all(draft / "figures", results, outcomes, images["held_out"])
        for name, text in texts(results, whole, drawn).items():
            (draft / name).write_text(text, encoding="utf-8", newline="")
        atomic.write_json(draft / "results.json", results)
        scored = [outcome.about for arms in outcomes.values() for outcome in arms.values()]
        parents = [*(pooled.about for pooled in images.values()), *scored, *([full.about] if full else [])]
        atomic.write_json(draft / "about.json", _about(draft / "results.json", whole, parents))
    return flat(results)


def texts(results: Results, study: StudyConfig, drawn: dict[str, list[Picture]]) -> dict[str, str]:
    """What a person reads, by file name."""
    title = f"{study.name}: did generated images help?"
    footer = f"Made by syntrial {__version__}. For research; not for diagnosis."
    return {
        "report.html": document(title, opening(results), all_sections(results, study, drawn), footer),
        "summary.md": summary(results),
        "table.md": table.markdown(results),
        "table.csv": table.as_csv(results),
    }


def summary(results: Results) -> str:
    """The answer and the tables on one Markdown page, for a dashboard."""
    verdicts = [entry["verdict"]["sentence"] for entry in judged(results).values()]
    told = [*verdicts, sentences.elsewhere(results), f"Resize check: {sentences.resized(results)}"]
    blocks = [f"# {results['study']}", sentences.headline(results), _bullets(told), table.markdown(results).rstrip()]
    if results["warnings"]:
        blocks += ["## Warnings", _bullets(results["warnings"])]
    return "\n\n".join(blocks) + "\n"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"* {line}" for line in lines if line)


def _about(results: Path, study: StudyConfig, parents: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "verb": "report",
        "digest": hashlib.sha256(results.read_bytes()).hexdigest(),
        "config": study.model_dump(),
        "parents": [about_parent(about) for about in parents],
    }
