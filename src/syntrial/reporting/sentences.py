"""The sentences of a report: those made from the dict of syntrial.reporting.results, and those of every study."""

from __future__ import annotations

from typing import Any

from syntrial.reporting.results import Results, entries, judged
from syntrial.reporting.table import figure, spread
from syntrial.words import counted

CITATION = (
    "M. S. K. Sashank, V. S. Maddila, V. Boddu, Y. Radhika: Efficient deep learning based data augmentation "
    "techniques for enhanced learning on inadequate medical imaging data. Acta IMEKO 11(1), article 31, 2022 (CC BY "
    "3.0)"
)
ERRATUM = (
    "The paper's table 1 gives 0.6700 as the training loss of its third dataset; its text gives 0.0670. The table "
    "must be the misprint: a loss of 0.67 is close to that of guessing between two classes (ln 2 = 0.693), which "
    "contradicts a training accuracy of 97.71 %. This report prints 0.0670."
)
CONTRADICTIONS = (
    "The 98 % in the paper's discussion is the training accuracy of its fourth dataset (97.86 %). The validation "
    "accuracy of that dataset is 95.74 %, below the 100 % of the third.",
    "Reducing images from 1024 x 1024 to 128 x 128 pixels drops 98.4 % of the pixels. The paper concludes from two "
    "accuracies, which it does not print, that little is lost; the resize check above prints ours.",
    "The paper's introduction is about COVID-19, but none of its images shows it: the classes are normal and viral "
    "pneumonia, in children of one to five years.",
    "An accuracy on n images is a whole number divided by n. No customary validation share (10, 15, 20, 25, 30, 33, 40 "
    "or 50 %) of 2,680 images gives 0.9259, none of 4,680 gives 0.9574, and no single n below 1,079 gives all four "
    "printed validation accuracies. So it is unlikely that the four rows were measured on one validation set; the "
    "numbers prove no more than that.",
)
CHOICES = (
    ("resize filter", "Lanczos, antialiased"),
    ("grey values", "8 bits, scaled to [-1, 1]"),
    (
        "weights kept",
        "those of the last step, never the best on validation; for a generator, their moving average (ema_half_life)",
    ),
    (
        "validation as printed",
        "a random share of all images, generated ones included; the generators were trained on the real ones",
    ),
    ("validation held out", "real images of patients on whom nothing was trained; the same for every arm"),
)
LIMITS = (
    "This is no diagnosis, and none of the classifiers may be used for one. The study compares ways of training on the "
    "images given.",
    "Labels are taken as given. Whether the classifier looks at what a physician would look at is not examined: on "
    "images from the paper's own source, a classifier that sees nothing but the outermost 10 pixels, no lung, still "
    "reaches 89.5 %.",
    "No evidence of a difference is not evidence of no difference: a difference smaller than the detectable effect "
    "stated with each verdict may well have been missed.",
    "A verdict holds for this classifier, these generators, this number of images and this source of images, and for "
    "nothing beyond them.",
    "Held-out patients are unseen, but they come from the same source as the training patients. Only images from "
    "another source show how a classifier performs elsewhere.",
)


def question(results: Results) -> str:
    """What was asked, and how it was answered."""
    seeds = len(results["seeds"])
    return (
        f"Would generated images help a classifier that distinguishes {_listed(results['classes'], 'from')}? The same "
        f"network, with the same settings, was trained on {counted(len(results['arms']), 'training set')} "
        f"({'once' if seeds == 1 else f'{seeds} times'} each, on images of {results['side']} x {results['side']} "
        "pixels) and evaluated in two ways. As printed: as in the paper reproduced here, on a random share of all "
        "images, generated ones included. Held out: on real images of patients that neither a classifier nor a "
        "generator has seen. The answer rests on the held-out evaluation alone."
    )


def headline(results: Results) -> str:
    """How many arms helped, how many hurt, and how many showed no evidence of either."""
    answers = [entry["verdict"]["answer"] for entry in judged(results).values()]
    if not answers:
        return "The study has a single arm, so nothing was compared."
    helped, hurt, neither = (answers.count(answer) for answer in ("helped", "hurt", "no evidence"))
    return (
        f"{counted(len(answers), 'comparison')} on unseen patients: {helped} helped, {hurt} hurt, {neither} without "
        "evidence of a difference."
    )


def as_printed(results: Results, arm: str) -> str:
    """An arm's validation accuracy as the paper measures it, and what its validation images were."""
    arms = entries(results, "as_printed")
    numbers = arms[arm]["numbers"]["val_accuracy"]
    others = [] if arm == "original" else [f"original {figure(arms['original']['numbers']['val_accuracy']['mean'])}"]
    if arms[arm]["paper"]:
        others.append(f"the paper {figure(arms[arm]['paper']['val_accuracy'])}")
    compared = f" ({', '.join(others)})" if others else ""
    validated = validated_on(arms[arm]["validation"])
    return f"As printed, its validation accuracy is {spaced(spread(numbers))}{compared}; {validated}."


def validated_on(validation: dict[str, Any]) -> str:
    """What an arm's validation images were, such as "8 of its 40 validation images were generated"."""
    generated, kinds = validation["synthetic"], validation["accuracy"]
    parts = [
        f"{generated or 'none'} of its {counted(validation['images'], 'validation image')} "
        f"{'was' if generated < 2 else 'were'} generated"
    ]
    if seen := validation.get("seen_by_generators"):
        parts.append(f"its generators were trained on {seen} of the real ones")
    if copied := validation.get("also_trained"):
        parts.append(f"its training set has copies of {copied} of the real ones")
    if {"real", "generated"} <= kinds.keys():
        parts.append(
            f"its accuracy is {figure(kinds['generated'])} on the generated images and {figure(kinds['real'])} on the "
            "real ones"
        )
    return _joined(parts)


def reference(results: Results) -> str:
    """The scores of the arm `original` on the held-out test images."""
    entry = results["protocols"]["held_out"]["original"]
    numbers, intervals = entry["numbers"], entry["intervals"]["test"]
    return (
        f"AUROC {spaced(spread(numbers['test_auroc'], 3))} ({interval(intervals['auroc'], results)}), accuracy "
        f"{spaced(spread(numbers['test_accuracy'], 3))} ({interval(intervals['accuracy'], results)})."
    )


def elsewhere(results: Results) -> str:
    """The AUROC of arm `original` on images from another source, compared with its own; "" without such images."""
    entry = results["protocols"]["held_out"]["original"]
    if "external" not in entry["intervals"]:
        return ""
    own, other = entry["numbers"]["test_auroc"]["mean"], entry["numbers"]["external_auroc"]["mean"]
    lows_highs = entry["intervals"]["test"]["auroc"], entry["intervals"]["external"]["auroc"]
    apart = lows_highs[1][1] < lows_highs[0][0] or lows_highs[0][1] < lows_highs[1][0]
    comparison = f"{'lower' if other < own else 'higher'}, and the intervals do not overlap"
    return (
        f"On images from another source ({_source(results)}), the classifier trained on the original images has an "
        f"AUROC of {figure(other, 3)} ({interval(lows_highs[1], results)}), compared with {figure(own, 3)} "
        f"({interval(lows_highs[0], results)}) on held-out patients from its own source: "
        f"{comparison if apart else 'the intervals overlap'}."
    )


def resized(results: Results) -> str:
    """The conclusion of the resize check, or why there is none."""
    check = results["resize"]
    if check is None:
        return "The resize check was switched off (resize_check.full_side is 0)."
    full, side = f"{check['full_side']} px", f"{check['side']} px"
    if check["shortest_edge"] is None:
        return f"No conclusion: it is not recorded whether the original images were as large as {full}."
    if check["shortest_edge"] < check["full_side"]:
        return (
            f"No conclusion: not every original image was as large as {full} (the shortest edge of all is "
            f"{check['shortest_edge']} px), and enlarging an image adds no information. Larger images, or a smaller "
            "resize_check.full_side, would allow a conclusion."
        )
    if check["verdict"] is None:
        return f"No conclusion: the images at {full} and at {side} are not of the same patients."
    verdict = check["verdict"]
    found = {
        "no evidence": "there is no evidence of a difference",
        "helped": "the full size is better",
        "hurt": "the reduced size is better",
    }[verdict["answer"]]
    name = results["metric"].upper() if results["metric"] == "auroc" else results["metric"]
    numbers = f"{verdict['difference']:+.3f}, {interval([verdict['low'], verdict['high']], results, signed=True)}"
    reach = (
        f"a difference below {figure(verdict['smallest_effect'], 3)} may well have been missed"
        if verdict["standard_error"]
        else "it did not vary"
    )
    return f"{full} against {side}, on the same patients: {found} in {name} ({numbers}; {reach})."


def interval(low_high: list[float], results: Results, signed: bool = False) -> str:
    """An interval with its confidence."""
    low, high = (f"{value:{'+' if signed else ''}.3f}" for value in low_high)
    return f"{results['confidence'] * 100:g} % interval {low} to {high}"


def spaced(number: str) -> str:
    """0.93±0.01 with spaces around the sign, as in running text."""
    return number.replace("±", " ± ")


def _source(results: Results) -> str:
    data = results["data"]["held_out"]
    images = sum(count["images"] for count in data["counts"]["external"].values())
    patients = data["division"]["groups"]["external"]  # the sum over classes would count a patient with both twice
    known = [
        data["external"].get("name"),
        f"{counted(images, 'image')} of {counted(patients, 'patient')}",
        f"read as {data['external'].get('layout', 'images')}",
    ]
    return ", ".join(filter(None, known))


def _listed(words: list[str], between: str) -> str:
    return f" {between} ".join(words) if len(words) == 2 else f"{', '.join(words[:-1])} and {words[-1]}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
