"""Every number of the report, JSON-ready. It holds no time, path or speed, so a repetition gives equal bytes.

Under "protocols", for each protocol and arm: its numbers (mean, spread and each seed's), intervals, confusion matrices,
what it was trained and validated on, and held out its verdict.

Shapes: S seeds, N images, K classes, R resamples.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import PIL

from syntrial.arms import PROTOCOLS, control_of
from syntrial.config import ReportConfig, StudyConfig
from syntrial.errors import DegenerateError
from syntrial.imageset import REAL, ImageSet
from syntrial.judging.metrics import Floats, Ints, resample_groups, weighted_accuracy, weighted_auroc
from syntrial.judging.verdict import Verdict, judge
from syntrial.reporting.outcomes import LEARNING, Outcome, Predictions, Texts
from syntrial.reporting.paper import PAPER_ROWS
from syntrial.settings import settings_of
from syntrial.words import counted

TITLES = {"as_printed": "as printed", "held_out": "held out"}
JUDGING = ("test", "external")  # parts that a held-out arm is judged on
INTERVALS = {"accuracy": weighted_accuracy, "auroc": weighted_auroc}
INGESTED = (
    "name",
    "layout",
    "found",
    "used",
    "accepted",
    "converted",
    "warned",
    "rejected",
    "reasons",
    "groups",
    "ungrouped",
    "original_width",
    "original_height",
    "squeezed",
    "upsampled",
    "warnings",
)
LEARNT = ("kind", "label", "real_images", "images_shown", "started_from", "final", "diversity", "machines", "config")
FEW_PATIENTS = 20  # per class in a part; below it a percentile bootstrap covers less often than its nominal level

Results = dict[str, Any]


def results_of(
    study: StudyConfig,
    outcomes: dict[str, dict[str, Outcome]],
    images: dict[str, ImageSet],
    full_size: Outcome | None,
) -> Results:
    """All of it. A held-out arm that was compared has a "verdict"; no other has that key.

    Args:
        outcomes: protocol -> arm -> what it scored.
        images: protocol -> the pooled set it was trained and judged on.
        full_size: arm `original`, held out, on images at full size; None where the resize check is off.

    Raises:
        DegenerateError: a number that cannot be computed, such as the AUROC of a part without some class.
    """
    protocols = {
        protocol: {arm: _arm(outcome, study) for arm, outcome in arms.items()} for protocol, arms in outcomes.items()
    }
    for arm, verdict in verdicts_of(study, outcomes["held_out"]).items():
        control = protocols["held_out"][arm]["control"]
        sentence = verdict.sentence(study.recipes[arm].title, study.recipes[control].title)
        protocols["held_out"][arm]["verdict"] = {**asdict(verdict), "sentence": sentence}
    data = {protocol: data_of(pooled) for protocol, pooled in images.items()}
    results: Results = {
        "study": study.name,
        "classes": study.classes,
        "side": study.side,
        "arms": list(study.recipes),
        "seeds": sorted(study.seeds),
        "metric": study.report.metric,
        "confidence": study.report.confidence,
        "protocols": protocols,
        "resize": None,
        "data": data,
        "settings": {row["name"]: row["value"] for row in settings_of(study)},
        "machines": _machines(outcomes, full_size, data),
        "report": {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
    }
    if full_size:
        results["resize"] = resize_check(study, outcomes["held_out"]["original"], full_size, images["held_out"])
    return {**results, "warnings": warnings_of(results)}


def entries(results: Results, protocol: str) -> dict[str, dict[str, Any]]:
    """The entry of each arm, in the order of the study; JSON objects have no order."""
    return {arm: results["protocols"][protocol][arm] for arm in results["arms"]}


def judged(results: Results) -> dict[str, dict[str, Any]]:
    """The held-out arms that have a verdict."""
    return {arm: entry for arm, entry in entries(results, "held_out").items() if "verdict" in entry}


def flat(results: Results) -> dict[str, float]:
    """The numbers that a dashboard compares between runs, such as "held_out.simple_gan.test_auroc"; all finite."""
    numbers = {
        f"{protocol}.{arm}.{name}": spread["mean"]
        for protocol in PROTOCOLS
        for arm, entry in entries(results, protocol).items()
        for name, spread in entry["numbers"].items()
    }
    for arm, entry in judged(results).items():
        for name in ("difference", "low", "high", "smallest_effect"):
            numbers[f"held_out.{arm}.{name}"] = entry["verdict"][name]
    for name, spread in results["resize"]["full"]["numbers"].items() if results["resize"] else ():
        numbers[f"resize.full.{name}"] = spread["mean"]
    return {name: float(value) for name, value in numbers.items()}


def spread_of(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None of a single value) and the values themselves."""
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "each": [float(value) for value in values],
    }


def verdicts_of(study: StudyConfig, held_out: dict[str, Outcome]) -> dict[str, Verdict]:
    """For each arm with a control, in the order of the study, the answer on the test images."""
    controls = {arm: control_of(arm, study.recipes) for arm in study.recipes}
    compared = [arm for arm in controls if controls[arm]]
    return {
        arm: _judged(held_out[arm], held_out[controls[arm]], study.report, comparisons=len(compared))
        for arm in compared
    }


def resize_check(study: StudyConfig, reduced: Outcome, full: Outcome, images: ImageSet) -> dict[str, Any]:
    """The scores of the classifier at full and at reduced size, and a verdict on their difference.

    There is no verdict where images were enlarged to reach the full size, or where the two were not evaluated on the
    same patients.

    Raises:
        DegenerateError: the full-size scores are not those of arm original, held out, with the study's seeds.
    """
    if (full.protocol, full.arm) != ("held_out", "original") or full.seeds != reduced.seeds:
        raise DegenerateError(
            f"the resize check needs arm original, held_out, seeds {reduced.seeds}; {full.folder} is {full.name}, "
            f"seeds {full.seeds}"
        )
    check: dict[str, Any] = {
        "full_side": int(full.about.get("side", study.resize_check.full_side)),
        "side": study.side,
        "images": len(full.stacked("test")[1]),
        "full": _arm(full, study),
        "reduced": _arm(reduced, study),
        "shortest_edge": _shortest_edge(images),
        "verdict": None,
    }
    if (check["shortest_edge"] or 0) >= check["full_side"] and _same_patients(full, reduced):
        check["verdict"] = asdict(_judged(full, reduced, study.report, comparisons=1))
    return check


def data_of(images: ImageSet) -> dict[str, Any]:
    """The files found, used and held back, the division, and the generators; nothing with a path or a time."""
    counted: dict[str, dict[str, dict[str, int]]] = {}
    for part in dict.fromkeys(row.split for row in images.rows if row.source == REAL):
        counted[part or "left out"] = {label: _count(images, label, part) for label in images.classes}
    synthetic: dict[str, int] = {}
    for row in images.rows:
        if row.source != REAL:
            synthetic[row.source] = synthetic.get(row.source, 0) + 1
    return {
        "digest": images.digest,
        "ingest": _known(images.about.get("ingest", {}), INGESTED),
        "external": _known(images.about.get("external", {}), INGESTED),
        "division": images.about.get("division", {}),
        "counts": counted,
        "synthetic": synthetic,
        "generators": {name: _known(about, LEARNT) for name, about in images.about.get("generators", {}).items()},
    }


def warnings_of(results: Results) -> list[str]:
    """What a reader must know before relying on a number, one sentence each."""
    found = [_few_seeds(results), _guessing(results), _no_room(results)]
    found += [*_one_answer(results), *_few_patients(results), *_collapsed(results)]
    for facts in results["data"].values():
        found += [str(warning) for warning in facts["ingest"].get("warnings", [])]
        found += [f"External images: {warning}" for warning in facts["external"].get("warnings", [])]
    arms = [entry for entries_of in results["protocols"].values() for entry in entries_of.values()]
    if len(_each_once([entry["machine"] for entry in arms])) > 1:
        found.append(
            "The arms were trained on different machines or versions (listed under Environment), so seeds are not "
            "exactly paired."
        )
    return list(dict.fromkeys(filter(None, found)))


def _arm(outcome: Outcome, study: StudyConfig) -> dict[str, Any]:
    about, paper = outcome.about, PAPER_ROWS.get(outcome.arm)
    parts = [part for part in JUDGING if part in outcome.predictions and outcome.protocol == "held_out"]
    return {
        "title": study.recipes[outcome.arm].title,
        "paper": asdict(paper) if paper else None,
        "control": control_of(outcome.arm, study.recipes),
        **{name: about.get(name) for name in ("epochs", "steps", "parameters", "train_images", "counts", "machine")},
        "validation": _validation(outcome),
        "numbers": _numbers(outcome),
        "intervals": {part: _intervals(outcome, part, study.report) for part in parts},
        "confusion": {part: _confusion(outcome, part) for part in parts},
        "one_answer": sum(_calls_all_alike(seen) for seen in outcome.predictions.get("test", [])),
    }


def _numbers(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Every number's spread over seeds.

    `running_*` are averages over the last epoch's batches while learning, as Keras and the paper print them; `train_*`
    are those of the finished classifier on its training images.
    """
    numbers = {name: spread_of(list(outcome.curves[name][:, -1])) for name in LEARNING}
    for part in ("val", *JUDGING):
        by_seed = outcome.scores(part)
        for name in by_seed[0] if by_seed else ():
            numbers[f"{part}_{name}"] = spread_of([seen[name] for seen in by_seed])
    return numbers


def _validation(outcome: Outcome) -> dict[str, Any]:
    """The number of validation images, of those generated or seen by a generator, and the accuracy on each kind."""
    if "val" not in outcome.predictions:
        raise DegenerateError(f"{outcome.name} has no val images; the table needs them in every arm")
    facts = dict(outcome.about.get("validation", {}))
    by_kind: dict[str, list[float]] = {"real": [], "generated": []}
    for seen in outcome.predictions["val"]:
        right_N = seen.prob.argmax(axis=1) == seen.label
        for kind, chosen_N in (("real", seen.source == REAL), ("generated", seen.source != REAL)):
            if chosen_N.any():
                by_kind[kind].append(float(right_N[chosen_N].mean()))
    first = outcome.predictions["val"][0]
    facts.update(images=len(first.label), synthetic=int((first.source != REAL).sum()))
    return {**facts, "accuracy": {kind: float(np.mean(values)) for kind, values in by_kind.items() if values}}


def _intervals(outcome: Outcome, part: str, config: ReportConfig) -> dict[str, list[float]]:
    prob_SNK, label_N, group_N = outcome.stacked(part)
    return {name: _interval(weighted, prob_SNK, label_N, group_N, config) for name, weighted in INTERVALS.items()}


def _interval(
    weighted: Callable[..., Floats], prob_SNK: Floats, label_N: Ints, group_N: Texts, config: ReportConfig
) -> list[float]:
    """Percentile bootstrap over patients of the mean over seeds; all resamples at once, which is ten times faster."""
    blocks = resample_groups(group_N, label_N, config.resamples, np.random.default_rng(0))
    values_R = np.concatenate(
        [np.mean([weighted(p, label_N, weight_RN) for p in prob_SNK], axis=0) for weight_RN in blocks]
    )
    return [float(value) for value in np.quantile(values_R, [(1 - config.confidence) / 2, (1 + config.confidence) / 2])]


def _confusion(outcome: Outcome, part: str) -> list[list[float]]:
    """Images of each true class (row) by predicted class (column), the mean over seeds."""
    return [[float(cell) for cell in row] for row in np.mean(outcome.confusion(part), axis=0)]


def _calls_all_alike(seen: Predictions) -> bool:
    return len(np.unique(seen.prob.argmax(axis=1))) == 1


def _judged(arm: Outcome, control: Outcome, config: ReportConfig, *, comparisons: int) -> Verdict:
    """The verdict on the test images. Rows are paired by patient and label, all that a bootstrap of patients needs."""
    arm_SNK, label_N, group_N = _by_patient(arm)
    control_SNK = _by_patient(control)[0]
    try:
        return judge(
            arm_SNK,
            control_SNK,
            label_N,
            group_N,
            metric=config.metric,
            confidence=config.confidence,
            comparisons=comparisons,
            resamples=config.resamples,
        )
    except DegenerateError as error:
        raise DegenerateError(f"{arm.name} against {control.arm}: {error}") from None


def _by_patient(outcome: Outcome) -> tuple[Floats, Ints, Texts]:
    prob_SNK, label_N, group_N = outcome.stacked("test")
    order_N = np.lexsort((label_N, group_N))
    return prob_SNK[:, order_N], label_N[order_N], group_N[order_N]


def _shortest_edge(images: ImageSet) -> int | None:
    """px, over all originals; None where it was not recorded. Below the full side, images were enlarged."""
    ingest = images.about.get("ingest", {})
    edges = [*ingest.get("original_width", [])[:1], *ingest.get("original_height", [])[:1]]
    return min(edges) if len(edges) == 2 else None


def _same_patients(one: Outcome, other: Outcome) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(_by_patient(one)[1:], _by_patient(other)[1:], strict=True))


def _known(facts: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: facts[name] for name in names if name in facts}


def _count(images: ImageSet, label: str, part: str) -> dict[str, int]:
    chosen = images.where(label=label, source=REAL, split=part)
    return {"images": len(chosen), "groups": len({images.rows[i].group for i in chosen})}


def _machines(
    outcomes: dict[str, dict[str, Outcome]], full_size: Outcome | None, data: dict[str, Any]
) -> list[dict[str, Any]]:
    """The machines of every classifier, of every generator and of the generator that it started from; each once."""
    scored = [outcome for arms in outcomes.values() for outcome in arms.values()]
    scored += [full_size] if full_size else []
    learnt = [about for facts in data.values() for about in facts["generators"].values()]
    return _each_once(
        [outcome.about.get("machine") for outcome in scored]
        + [machine for about in learnt for machine in about.get("machines", [])]
    )


def _each_once(values: list[Any]) -> list[Any]:
    return [value for i, value in enumerate(values) if value not in values[:i]]


def _few_seeds(results: Results) -> str:
    return (
        "One seed only: the variation between trainings is unknown, and no interval includes it."
        if len(results["seeds"]) == 1
        else ""
    )


def _few_patients(results: Results) -> list[str]:
    return [
        f"The {part} part has only {counted(count['groups'], 'patient')} with {label}; below {FEW_PATIENTS}, intervals "
        "are too narrow."
        for part in JUDGING
        for label, count in results["data"]["held_out"]["counts"].get(part, {}).items()
        if count["groups"] < FEW_PATIENTS
    ]


def _guessing(results: Results) -> str:
    low = results["protocols"]["held_out"]["original"]["intervals"]["test"]["auroc"][0]
    return (
        "Without generated images the classifier is not clearly better than guessing, so comparing arms means little."
        if low <= 0.5
        else ""
    )


def _no_room(results: Results) -> str:
    accuracy = results["protocols"]["held_out"]["original"]["numbers"]["test_accuracy"]["mean"]
    return (
        "Without generated images every test image is already classified correctly, so no arm can improve on it."
        if accuracy == 1
        else ""
    )


def _one_answer(results: Results) -> list[str]:
    return [
        f"{entry['title']}, held out: the same class is predicted for every test image by {entry['one_answer']} of "
        f"{counted(len(results['seeds']), 'classifier')}; such an accuracy is only the share of that class."
        for entry in entries(results, "held_out").values()
        if entry["one_answer"]
    ]


def _collapsed(results: Results) -> list[str]:
    """Generators whose images are nearly alike: a study may switch off the check that ends their training."""
    return [
        f"Generator {name}, {TITLES[protocol]}, has collapsed: its images differ {about['diversity']:.2f} times as "
        "much as real ones do."
        for protocol, facts in results["data"].items()
        for name, about in facts["generators"].items()
        if about.get("diversity", 1.0) < (about.get("config", {}).get("collapse_below") or 0.1)
    ]
