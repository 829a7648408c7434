"""The answer for one arm against its control: helped, no evidence, or hurt.

S seeds (one trained classifier each), N test images, K classes, G patients, R resamples. Both arms have the same seeds,
in the same order, and are judged on the same images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syntrial.errors import ConfigError, DegenerateError
from syntrial.judging.metrics import WEIGHTED, Floats, checked, resample_groups
from syntrial.words import counted

NAMES = {"auroc": "AUROC", "accuracy": "accuracy", "loss": "log loss"}
LOWER_IS_BETTER = {"loss"}
POWER = 0.8  # the customary probability of detecting a true effect; Cohen 1988

Answer = Literal["helped", "no evidence", "hurt"]


@dataclass(frozen=True)
class Verdict:
    """The result of one comparison on real, unseen patients."""

    answer: Answer
    difference: float  # arm minus control, mean over seeds; above 0 is better, except for the loss
    low: float  # the interval of the difference, at the confidence shared among the comparisons
    high: float
    standard_error: float
    smallest_effect: float  # the true difference that such a study detects with probability POWER
    seeds: int
    groups: int
    images: int
    metric: str
    confidence: float  # of all comparisons together
    comparisons: int

    def sentence(self, arm: str, control: str) -> str:
        """The verdict in words, with every number that it rests on."""
        name = NAMES[self.metric]
        shared = f", widened for {self.comparisons} comparisons" if self.comparisons > 1 else ""
        answer = {
            "helped": f"helped, {name} is better",
            "hurt": f"hurt, {name} is worse",
            "no evidence": f"no evidence of a difference in {name}",
        }[self.answer]
        interval = (
            f"{self.difference:+.3f}, {self.confidence * 100:g} % interval {self.low:+.3f} to {self.high:+.3f}{shared}"
        )
        return f"{arm} against {control}: {answer} ({interval}; {self._reach()}{self._caveat()})"

    def _reach(self) -> str:
        if self.standard_error == 0:
            return "it varies neither between seeds nor between patients, so the smallest detectable effect is unknown"
        if self.metric != "loss" and self.smallest_effect > 1:
            return "too few seeds or patients to detect any effect, however large"
        return f"the smallest effect detectable with {POWER * 100:g} % power is {self.smallest_effect:.3f}"

    def _caveat(self) -> str:
        return "; one seed only, so the interval lacks the variation between seeds" if self.seeds == 1 else ""


def judge(
    arm_SNK: ArrayLike,
    control_SNK: ArrayLike,
    label_N: ArrayLike,
    group_N: ArrayLike,
    *,
    metric: str = "auroc",
    confidence: float = 0.95,
    comparisons: int = 1,
    resamples: int = 2000,
    seed: int = 0,
) -> Verdict:
    """Whether an arm is better than its control on held-out real images.

    The difference is the mean over seeds of metric(arm) - metric(control). Seeds score the same patients, like the
    readers of a reader study, so the standard error is that of Obuchowski and Rockette 1995: the variance between seeds
    and the covariance of seeds over bootstrap samples of patients. It is never below the standard error from patients
    alone, since two or three seeds can agree by chance to the last digit. Resampling seeds and patients together would
    count the noise of single predictions up to three times (Owen 2007). The interval is Student's; its quantile is the
    mean of those for the degrees of freedom of seeds and of patients, weighted by the variance of each (Cochran and
    Cox 1950). The customary degrees of freedom of Satterthwaite 1946 rise when a few seeds look more alike than they
    are: at a nominal 1 %, three seeds then gave up to 4 % false positives.

    With several comparisons each has the confidence 1 - (1 - confidence) / comparisons (Bonferroni). The answer is
    `helped` or `hurt` if and only if the interval excludes 0.

    Args:
        arm_SNK, control_SNK: probabilities of the same seeds for the same images.
        label_N, group_N: the true class and the patient of each image.
        metric: auroc, accuracy (higher is better) or loss (lower is better; `helped` is a difference below 0).
        comparisons: number of verdicts in the study.

    Raises:
        DegenerateError: arms of different shapes, or fewer than two patients in a class.
        ConfigError: an unknown metric, or confidence, comparisons or resamples out of bounds.
    """
    error = _error_probability(metric, confidence, comparisons, resamples)
    arm, control = _paired(arm_SNK, control_SNK)
    label, group = np.asarray(label_N), np.asarray(group_N)
    groups = _count_groups(arm, control, label, group)
    difference_S = _differences(arm, control, label, np.ones((1, len(label))), metric)[:, 0]
    blocks = resample_groups(group, label, resamples, np.random.default_rng(seed))
    resampled_SR = np.concatenate([_differences(arm, control, label, block_RN, metric) for block_RN in blocks], axis=1)
    spread = _Spread.of(difference_S, resampled_SR, groups)
    difference, reach = float(difference_S.mean()), spread.quantile(1 - error / 2)
    low, high = _interval(difference, reach * spread.standard_error, metric)
    return Verdict(
        answer=_answer(low, high, metric),
        difference=difference,
        low=low,
        high=high,
        standard_error=spread.standard_error,
        smallest_effect=(reach + spread.quantile(POWER)) * spread.standard_error,
        seeds=len(difference_S),
        groups=groups,
        images=len(label),
        metric=metric,
        confidence=confidence,
        comparisons=comparisons,
    )


def student_quantile(level: float, freedom: float) -> float:
    """The value under which `level` (0.5 to 1, exclusive) of Student's t lies; `freedom` is 1 or more degrees.

    With t = sqrt(freedom) tan(angle) the density is that of cos(angle)^(freedom - 1), smooth and bounded, which is
    integrated numerically. By hand, since nothing else here loads SciPy at run time: importing scipy.special takes
    450 ms of CPU after syntrial.report, scipy.stats 1,800 ms, one quantile here 4 ms.
    """
    angle = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(freedom) * math.tan(np.interp(2 * level - 1, mass / mass[-1], angle))


def _interval(difference: float, reach: float, metric: str) -> tuple[float, float]:
    most = math.inf if metric == "loss" else 1.0  # shares and areas cannot differ by more
    return max(-most, difference - reach), min(most, difference + reach)


def _answer(low: float, high: float, metric: str) -> Answer:
    if low <= 0 <= high:
        return "no evidence"
    return "helped" if (low > 0) != (metric in LOWER_IS_BETTER) else "hurt"


def _differences(arm: Floats, control: Floats, label_N: NDArray[Any], weight_RN: NDArray[Any], metric: str) -> Floats:
    """Metric of the arm minus that of the control, for each seed and row of weights; (S, R)."""
    weighted = WEIGHTED[metric]
    pairs = zip(arm, control, strict=True)
    return np.array([weighted(a_NK, label_N, weight_RN) - weighted(c_NK, label_N, weight_RN) for a_NK, c_NK in pairs])


@dataclass(frozen=True)
class _Spread:
    """The variance of the mean difference: the parts due to seeds and due to patients."""

    of_seeds: float
    of_patients: float
    seeds: int
    groups: int

    @classmethod
    def of(cls, difference_S: Floats, resampled_SR: Floats, groups: int) -> _Spread:
        """Obuchowski and Rockette 1995: the variance between seeds, divided by their number, plus the covariance of two
        seeds over patients. The first term holds all noise of a single seed, its disagreement on single patients
        included. With one seed there is only the variance over patients.

        The variance of the mean over patients, with seeds held fixed, is a part of the true sum and so its lower bound.
        With few seeds the first term is often near 0 by chance, and exactly 0 where a metric has few values.
        """
        seeds = len(difference_S)
        fixed = float(resampled_SR.mean(axis=0).var(ddof=1))
        if seeds == 1:
            return cls(0.0, fixed, seeds, groups)
        of_seeds = float(difference_S.var(ddof=1)) / seeds
        # The variance of a sum is the sum of all variances and covariances.
        covariances = fixed * seeds**2 - float(resampled_SR.var(axis=1, ddof=1).sum())
        return cls(of_seeds, max(covariances / (seeds * (seeds - 1)), fixed - of_seeds, 0.0), seeds, groups)

    @property
    def standard_error(self) -> float:
        """Of the mean difference."""
        return math.sqrt(self.of_seeds + self.of_patients)

    def quantile(self, level: float) -> float:
        """Of the mean difference, in standard errors; Cochran and Cox 1950."""
        total = self.of_seeds + self.of_patients
        share = self.of_seeds / total if total else 0.0
        patients = student_quantile(level, self.groups - 1)
        return share * student_quantile(level, self.seeds - 1) + (1 - share) * patients if share else patients


def _error_probability(metric: str, confidence: float, comparisons: int, resamples: int) -> float:
    if metric not in WEIGHTED:
        raise ConfigError(f"metric is {metric!r}; a verdict has {', '.join(WEIGHTED)}")
    if not 0 < confidence < 1 or comparisons < 1 or resamples < 2:
        raise ConfigError(
            f"confidence is {confidence} over {counted(comparisons, 'comparison')} with "
            f"{counted(resamples, 'resample')}; it needs a number between 0 and 1, at least one comparison and two "
            "resamples"
        )
    return (1 - confidence) / comparisons


def _paired(arm_SNK: ArrayLike, control_SNK: ArrayLike) -> tuple[Floats, Floats]:
    arm, control = np.asarray(arm_SNK, dtype=np.float64), np.asarray(control_SNK, dtype=np.float64)
    if arm.shape != control.shape or arm.ndim != 3 or not len(arm):
        raise DegenerateError(
            f"the arm has predictions of shape {arm.shape}, its control {control.shape}; "
            "both need the same (seeds, images, classes)"
        )
    return arm, control


def _count_groups(arm: Floats, control: Floats, label_N: NDArray[Any], group_N: NDArray[Any]) -> int:
    for prob_NK in (*arm, *control):
        checked(prob_NK, label_N)
    if group_N.shape != label_N.shape:
        raise DegenerateError(f"groups have shape {group_N.shape} and labels {label_N.shape}; each image needs both")
    for label in range(arm.shape[2]):
        patients = len(np.unique(group_N[label_N == label]))
        if patients < 2:
            raise DegenerateError(
                f"class {label} has {counted(patients, 'patient')} in the test set; a verdict needs at least 2 of each "
                "class"
            )
    return len(np.unique(group_N))
