"""What the numbers bear, in words, from the dict of syntrial.reporting.results; and what is true of every study."""

from __future__ import annotations

from typing import Any

from syntrial.reporting.results import Results, entries, judged
from syntrial.reporting.table import figure, spread

CITATION = (
    "M. S. K. Sashank, V. S. Maddila, V. Boddu, Y. Radhika: Efficient deep learning based data augmentation "
    "techniques for enhanced learning on inadequate medical imaging data. Acta IMEKO 11(1), article 31, 2022 (CC BY "
    "3.0)"
)
ERRATUM = (
    "The paper's table 1 gives 0.6700 as the training loss of its third dataset; its text gives 0.0670. The table "
    "must be the misprint: a loss of 0.67 is that of guessing between two classes (ln 2 = 0.693) and cannot stand "
    "beside a training accuracy of 97.71 %. This report prints 0.0670."
)
CONTRADICTIONS = (
    "The 98 % of the paper's discussion is the training accuracy of its fourth dataset (97.86 %). The validation "
    "accuracy of that dataset is 95.74 %, below the 100 % of the third.",
    "Going from 1024 x 1024 to 128 x 128 pixels drops 98.4 % of them. That little is lost is argued from two "
    "accuracies which the paper does not print; the resize check above prints ours.",
    "The paper is introduced by COVID-19, but none of its images shows it: the classes are normal and viral "
    "pneumonia, in children of one to five years.",
    "An accuracy on n images is a whole number divided by n. No customary validation share (10, 15, 20, 25, 30, 33, 40 "
    "or 50 %) of 2,680 images gives 0.9259, none of 4,680 gives 0.9574, and no single n below 1,079 gives all four "
    "printed validation accuracies. So the rows were hardly measured on the same images. (That is inconsistent with "
    "one validation set; it proves nothing more.)",
)
CHOICES = (
    ("resize filter", "Lanczos, antialiased"),
    ("grey values", "8 bit, scaled to -1 ... 1"),
    (
        "weights kept",
        "those of the last step, never the best on validation; of a generator their moving average (ema_half_life)",
    ),
    (
        "validation as printed",
        "a random share of all images, generated ones included; the generators have seen the real ones",
    ),
    ("validation held out", "real images of patients that trained nothing, the same for every arm"),
)
LIMITS = (
    "It makes no diagnosis, and none of its classifiers may be used for one. It compares ways of training on the "
    "images given.",
    "Labels are taken as they come. Whether the classifier looks at what a physician would look at is not examined: "
    "on the paper's own source of images, a classifier that sees nothing but the outermost 10 pixels, no lung, still "
    "reaches 89.5 %.",
    "No evidence of a difference is not evidence that there is none: a difference smaller than the smallest effect "
    "stated beside each verdict may well have gone unseen.",
    "A verdict holds for this classifier, these generators, this many images and this source of images, and for "
    "nothing larger.",
    "Held-out patients are unseen, but they come from the same source as those that trained. Only images of another "
    "source say anything about other places.",
)


def question(results: Results) -> str:
    """What was asked, and how it was answered."""
    arms = results["arms"]
    seeds = len(results["seeds"])
    return (
        f"Would images drawn by a generator help a classifier that tells {_listed(results['classes'], 'from')}? The "
        f"same network, with the same settings, was trained on {len(arms)} training sets ({seeds} "
        f"{_times('time', seeds)} each, on images of {results['side']} x {results['side']} pixels), and judged in two "
        "ways. As printed: the way of the paper reproduced here, in which a random part of all images validates, "
        "generated ones included. Held out: on real images of patients whom neither a classifier nor a generator has "
        "seen. The answer rests on the second way alone."
    )


def headline(results: Results) -> str:
    """How many arms helped, hurt, or did neither that could be seen."""
    answers = [entry["verdict"]["answer"] for entry in judged(results).values()]
    if not answers:
        return "One arm alone answers no question: nothing was compared."
    counted = {answer: answers.count(answer) for answer in ("helped", "hurt", "no evidence")}
    return (
        f"Judged on unseen patients, of {len(answers)} {_times('comparison', len(answers))}: {counted['helped']} "
        f"helped, {counted['hurt']} hurt, {counted['no evidence']} without evidence of a difference."
    )


def as_printed(results: Results, arm: str) -> str:
    """What the paper's way of counting says of an arm, and what its validation images were."""
    arms = entries(results, "as_printed")
    numbers = arms[arm]["numbers"]["val_accuracy"]
    beside = [] if arm == "original" else [f"original {figure(arms['original']['numbers']['val_accuracy']['mean'])}"]
    if arms[arm]["paper"]:
        beside.append(f"the paper {figure(arms[arm]['paper']['val_accuracy'])}")
    told = f" ({', '.join(beside)})" if beside else ""
    validated = validated_on(arms[arm]["validation"])
    return f"Counted as printed, its validation accuracy is {spaced(spread(numbers))}{told}; {validated}."


def validated_on(validation: dict[str, Any]) -> str:
    """What an arm's validation images were, such as "8 of 40 were generated, ..."."""
    images = validation["images"]
    told = [
        f"{validation['synthetic'] or 'none'} of its {images} validation images {_were(validation['synthetic'])} "
        "generated"
    ]
    for name, words in (
        ("seen_by_generators", "real ones had been seen by its generators"),
        ("also_trained", "real ones also trained it as copies"),
    ):
        if validation.get(name):
            told.append(f"{validation[name]} {words}")
    if {"real", "generated"} <= validation["accuracy"].keys():
        kinds = validation["accuracy"]
        told.append(
            f"its accuracy is {figure(kinds['generated'])} on the generated and {figure(kinds['real'])} on the real "
            "ones"
        )
    return _joined(told)


def reference(results: Results) -> str:
    """What the arm without any help scores on the held-out test images."""
    entry = results["protocols"]["held_out"]["original"]
    numbers, intervals = entry["numbers"], entry["intervals"]["test"]
    return (
        f"AUROC {spaced(spread(numbers['test_auroc'], 3))} ({interval(intervals['auroc'], results)}), accuracy "
        f"{spaced(spread(numbers['test_accuracy'], 3))} ({interval(intervals['accuracy'], results)})."
    )


def elsewhere(results: Results) -> str:
    """What the originals' classifier scores on images of another source, beside those of its own; "" without any."""
    entry = results["protocols"]["held_out"]["original"]
    if "external" not in entry["intervals"]:
        return ""
    own, other = entry["numbers"]["test_auroc"]["mean"], entry["numbers"]["external_auroc"]["mean"]
    lows_highs = entry["intervals"]["test"]["auroc"], entry["intervals"]["external"]["auroc"]
    apart = lows_highs[1][1] < lows_highs[0][0] or lows_highs[0][1] < lows_highs[1][0]
    verdict = (
        f"{'lower' if other < own else 'higher'}, and the intervals do not touch"
        if apart
        else "and the intervals overlap"
    )
    return (
        f"On images of another source ({_source(results)}) the classifier trained on the originals has an AUROC of "
        f"{figure(other, 3)} ({interval(lows_highs[1], results)}), against {figure(own, 3)} "
        f"({interval(lows_highs[0], results)}) on held-out patients of its own source: {verdict}."
    )


def resized(results: Results) -> str:
    """What the resize check bears; where it bears nothing, why."""
    check = results["resize"]
    if check is None:
        return "The resize check was switched off (resize_check.full_side is 0)."
    full, side = f"{check['full_side']} px", f"{check['side']} px"
    if check["shortest_edge"] is None:
        return f"No conclusion: it is not recorded whether the images were as large as {full}."
    if check["shortest_edge"] < check["full_side"]:
        return (
            f"No conclusion: not every image was as large as {full} (the shortest edge of all has "
            f"{check['shortest_edge']} px), and an enlarged image holds no more than it did. Larger images, or a "
            "smaller resize_check.full_side, would allow one."
        )
    if check["verdict"] is None:
        return f"No conclusion: the images at {full} and at {side} are not of the same patients."
    verdict = check["verdict"]
    told = {
        "no evidence": "no difference was found",
        "helped": "the full size is better",
        "hurt": "the reduced size is better",
    }[verdict["answer"]]
    name = results["metric"].upper() if results["metric"] == "auroc" else results["metric"]
    numbers = f"{verdict['difference']:+.3f}, {interval([verdict['low'], verdict['high']], results, signed=True)}"
    reach = (
        f"a difference below {figure(verdict['smallest_effect'], 3)} may well have gone unseen"
        if verdict["standard_error"]
        else "it never varied"
    )
    return f"{full} against {side}, the same patients: {told} in {name} ({numbers}; {reach})."


def interval(low_high: list[float], results: Results, signed: bool = False) -> str:
    """An interval with its confidence."""
    low, high = (f"{value:{'+' if signed else ''}.3f}" for value in low_high)
    return f"{results['confidence'] * 100:g} % interval {low} to {high}"


def spaced(number: str) -> str:
    """0.93±0.01 as running text has it."""
    return number.replace("±", " ± ")


def _source(results: Results) -> str:
    data = results["data"]["held_out"]
    images = sum(count["images"] for count in data["counts"]["external"].values())
    patients = data["division"]["groups"]["external"]  # the classes' summed would count whoever has both twice
    known = [
        data["external"].get("name"),
        f"{images} images of {patients} patients",
        f"read as {data['external'].get('layout', 'images')}",
    ]
    return ", ".join(filter(None, known))


def _listed(words: list[str], between: str) -> str:
    return f" {between} ".join(words) if len(words) == 2 else f"{', '.join(words[:-1])} and {words[-1]} apart"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def _were(count: int) -> str:
    return "was" if count in (0, 1) else "were"


def _times(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
