"""Metrics of a classifier. They need NumPy only, so that the stages without torch can use them.

N images, K classes, R resamples, G groups (patients). `prob_NK` has one row per image, each summing to 1; `label_N`
holds the true classes, integers from 0 to K-1. With two classes, class 1 is the positive one. A metric that cannot be
computed raises DegenerateError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from syntrial.errors import DegenerateError
from syntrial.words import counted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOG_CLIP = 1e-7  # Keras' epsilon, so that losses compare with the paper's: a certain error costs 16.1, not infinity
SUM_TOLERANCE = 1e-3  # of the sum of a row of probabilities: float16 softmax passes, scores do not


def accuracy(prob_NK: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None) -> float:
    """Share of images whose most probable class is the true one, in [0, 1]; higher is better."""
    return _once(weighted_accuracy, prob_NK, label_N, weight_N)


def log_loss(prob_NK: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None) -> float:
    """Mean of -ln p(true class), in [0, 16.1]; lower is better, and guessing has ln K.

    Probabilities are clipped to [1e-7, 1 - 1e-7], as Keras' categorical cross-entropy does.
    """
    return _once(weighted_log_loss, prob_NK, label_N, weight_N)


def auroc(prob_NK: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None) -> float:
    """Probability that an image of the class scores above one of another, in [0, 1]; higher is better, 0.5 is guessing.

    Hanley and McNeil 1982: the area under the ROC curve is the Mann-Whitney statistic, in which ties count half. With
    two classes that of class 1, with more the mean over classes, each against all others.

    Raises:
        DegenerateError: a class without images (or without weight).
    """
    return _once(weighted_auroc, prob_NK, label_N, weight_N)


def sensitivity_specificity(prob_NK: ArrayLike, label_N: ArrayLike) -> tuple[Floats, Floats]:
    """For each class against all others, the true positive rate and the true negative rate.

    (K,) each, in [0, 1]; higher is better. The prediction is the most probable class. With two classes, use entry 1.

    Raises:
        DegenerateError: a class without images.
    """
    prob_NK, label_N = checked(prob_NK, label_N)
    _require_every_class(label_N, prob_NK.shape[1], "sensitivity")
    table_KK = confusion_matrix(prob_NK, label_N)
    right_K, true_K, predicted_K = np.diag(table_KK), table_KK.sum(axis=1), table_KK.sum(axis=0)
    others_K = len(label_N) - true_K
    return right_K / true_K, 1 - (predicted_K - right_K) / others_K


def brier(prob_NK: ArrayLike, label_N: ArrayLike) -> float:
    """Mean squared distance of the probabilities from the true class; lower is better, 0 is certain and correct.

    Brier 1950, eq. 2: the sum over classes, in [0, 2]. With two classes the customary half of it, the square for class
    1 alone, in [0, 1]; a constant 0.5 scores 0.25.
    """
    prob_NK, label_N = checked(prob_NK, label_N)
    classes = prob_NK.shape[1]
    square_N = ((prob_NK - np.eye(classes)[label_N]) ** 2).sum(axis=1)
    return float(square_N.mean()) / (2 if classes == 2 else 1)


def calibration_error(prob_NK: ArrayLike, label_N: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: the gap between confidence and accuracy, in [0, 1]; lower is better.

    Guo et al. 2017, eq. 3, over `bins` intervals ((m-1)/M, m/M] of equal width of the most probable class' probability.
    """
    prob_NK, label_N = checked(prob_NK, label_N)
    confidence_N = prob_NK.max(axis=1)
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)
    gap_N = (prob_NK.argmax(axis=1) == label_N) - confidence_N
    return float(np.abs(np.bincount(bin_N, weights=gap_N)).sum() / len(label_N))


def confusion_matrix(prob_NK: ArrayLike, label_N: ArrayLike) -> Ints:
    """Number of images by true class (row) and predicted class (column); (K, K)."""
    prob_NK, label_N = checked(prob_NK, label_N)
    classes = prob_NK.shape[1]
    cell_N = label_N * classes + prob_NK.argmax(axis=1)
    return np.bincount(cell_N, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def roc_points(score_N: ArrayLike, positive_N: ArrayLike, most: int = 200) -> tuple[Floats, Floats, Floats]:
    """The ROC curve from (0, 0) to (1, 1): false positive rates, true positive rates and their thresholds.

    At most `most` (2 or more) points, evenly thinned, both ends kept. All are finite: the first threshold, which no
    score reaches, is 1.0, since dashboards refuse infinity.

    Args:
        score_N: probability of being positive, in [0, 1].
        positive_N: whether the image truly is.

    Raises:
        DegenerateError: scores outside [0, 1] or of another length, or only one kind of image.
    """
    score_N, positive_N = _checked_scores(score_N, positive_N)
    order_N = np.argsort(-score_N, kind="stable")
    score_N, positive_N = score_N[order_N], positive_N[order_N]
    last_P = np.flatnonzero(np.append(np.diff(score_N) != 0, True))  # the last image of each distinct score
    true_P, false_P = np.cumsum(positive_N)[last_P], np.cumsum(~positive_N)[last_P]
    kept = np.unique(np.linspace(0, len(last_P), min(most, len(last_P) + 1)).round().astype(np.int64))
    tpr, fpr = np.append(0.0, true_P / true_P[-1]), np.append(0.0, false_P / false_P[-1])
    return fpr[kept], tpr[kept], np.append(1.0, score_N[last_P])[kept]


def scores(prob_NK: ArrayLike, label_N: ArrayLike) -> dict[str, float]:
    """Every metric by name; all finite.

    Sensitivity and specificity are those of class 1; with more than two classes, means over classes.

    Raises:
        DegenerateError: invalid probabilities or labels, or a class without images.
    """
    prob_NK, label_N = checked(prob_NK, label_N)
    sensitivity_K, specificity_K = sensitivity_specificity(prob_NK, label_N)
    reported = slice(1, None) if prob_NK.shape[1] == 2 else slice(None)
    return {
        "accuracy": accuracy(prob_NK, label_N),
        "loss": log_loss(prob_NK, label_N),
        "auroc": auroc(prob_NK, label_N),
        "sensitivity": float(sensitivity_K[reported].mean()),
        "specificity": float(specificity_K[reported].mean()),
        "brier": brier(prob_NK, label_N),
        "calibration_error": calibration_error(prob_NK, label_N),
    }


# The same metrics under many weightings at once, for bootstraps: (N, K), (N,), (R, N) -> (R,).


def weighted_accuracy(prob_NK: ArrayLike, label_N: ArrayLike, weight_RN: ArrayLike) -> Floats:
    """Accuracy under each row of weights; (R,)."""
    prob_NK, label_N = checked(prob_NK, label_N)
    weight_RN = _checked_weights(weight_RN, len(label_N))
    return _mean((prob_NK.argmax(axis=1) == label_N).astype(np.float64), weight_RN)


def weighted_log_loss(prob_NK: ArrayLike, label_N: ArrayLike, weight_RN: ArrayLike) -> Floats:
    """Log loss under each row of weights; (R,)."""
    prob_NK, label_N = checked(prob_NK, label_N)
    weight_RN = _checked_weights(weight_RN, len(label_N))
    true_N = prob_NK[np.arange(len(label_N)), label_N]
    return _mean(-np.log(np.clip(true_N, LOG_CLIP, 1 - LOG_CLIP)), weight_RN)


def weighted_auroc(prob_NK: ArrayLike, label_N: ArrayLike, weight_RN: ArrayLike) -> Floats:
    """AUROC under each row of weights; (R,). Images are sorted once for all rows."""
    prob_NK, label_N = checked(prob_NK, label_N)
    weight_RN = _checked_weights(weight_RN, len(label_N))
    classes = prob_NK.shape[1]
    _require_every_class(label_N, classes, "AUROC")
    reported = [1] if classes == 2 else range(classes)
    mean_R: Floats = np.mean([_area(prob_NK[:, k], label_N == k, weight_RN) for k in reported], axis=0)
    return mean_R


WEIGHTED: dict[str, Callable[[ArrayLike, ArrayLike, ArrayLike], Floats]] = {
    "auroc": weighted_auroc,
    "accuracy": weighted_accuracy,
    "loss": weighted_log_loss,
}


# Uncertainty.


def resample_groups(
    group_N: ArrayLike, label_N: ArrayLike, resamples: int, rng: np.random.Generator, block: int = 2**22
) -> Iterator[Ints]:
    """How often each image is drawn when groups are resampled: `resamples` rows of weights (R, N), in blocks of rows.

    Groups whose images have the same set of labels form a stratum. Each stratum is resampled with replacement to its
    own number of groups, so that every label keeps its number of groups.

    Raises:
        DegenerateError: labels and groups of different lengths, no images, or no resamples.
    """
    groups, member_N = np.unique(np.asarray(group_N), return_inverse=True)
    label_N = np.asarray(label_N)
    if label_N.shape != member_N.shape or not len(label_N) or resamples < 1:
        raise DegenerateError(
            f"the bootstrap has {counted(len(label_N), 'label')}, {counted(len(member_N), 'group')} and "
            f"{counted(resamples, 'resample')}; it needs one or more of each, and as many labels as groups"
        )
    count_RG = np.zeros((resamples, len(groups)), np.int64)
    for stratum in _strata(member_N, label_N, len(groups)):
        count_RG[:, stratum] = rng.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)), size=resamples)
    rows = max(1, block // len(label_N))
    return (count_RG[start : start + rows, member_N] for start in range(0, resamples, rows))


# Checks and shared parts.


def checked(prob_NK: ArrayLike, label_N: ArrayLike) -> tuple[Floats, Ints]:
    """The same probabilities and labels as arrays.

    Raises:
        DegenerateError: not one row of two or more probabilities per image, rows that do not sum to 1, or labels
            outside the classes.
    """
    prob, label = np.asarray(prob_NK, dtype=np.float64), np.asarray(label_N)
    if prob.ndim != 2 or prob.shape[0] < 1 or prob.shape[1] < 2:
        raise DegenerateError(
            f"probabilities have shape {prob.shape}; they need a row per image and two or more columns"
        )
    _require_probabilities(prob)
    if label.shape != prob.shape[:1] or label.dtype.kind not in "iu":
        raise DegenerateError(
            f"labels are {label.dtype} of shape {label.shape}; whole numbers are needed, one for each of "
            f"{counted(len(prob), 'row')}"
        )
    if label.min() < 0 or label.max() >= prob.shape[1]:
        raise DegenerateError(
            f"labels run from {label.min()} to {label.max()}; {prob.shape[1]} columns allow 0 to {prob.shape[1] - 1}"
        )
    return prob, label.astype(np.int64)


def _require_probabilities(prob_NK: Floats) -> None:
    broken = int((~np.isfinite(prob_NK)).any(axis=1).sum())
    if broken:
        raise DegenerateError(
            f"probabilities are not finite in {broken} of {counted(len(prob_NK), 'row')}; did training diverge?"
        )
    off_N = np.abs(prob_NK.sum(axis=1) - 1)
    if prob_NK.min() < 0 or off_N.max() > SUM_TOLERANCE:
        raise DegenerateError(
            f"probabilities are as low as {prob_NK.min():.4g} and a row sums to {off_N.max():.4g} off 1; "
            "they need to be 0 or more and each row to sum to 1 (softmax does that)"
        )


def _require_every_class(label_N: Ints, classes: int, what: str) -> None:
    count_K = np.bincount(label_N, minlength=classes)
    if (count_K == 0).any():
        raise DegenerateError(
            f"class {int(count_K.argmin())} has none of {counted(len(label_N), 'image')}; {what} needs each of "
            f"{classes} classes"
        )


def _checked_weights(weight_RN: ArrayLike, images: int) -> NDArray[Any]:
    weight = np.asarray(weight_RN)
    if weight.ndim != 2 or weight.shape[1] != images:
        raise DegenerateError(f"weights have shape {weight.shape}; they need one column per image, {images}")
    if not np.isfinite(weight).all() or weight.min() < 0 or not weight.any(axis=1).all():
        raise DegenerateError(
            "weights hold something below 0, not finite, or a row of zeros; they need to be 0 or more, and not all 0"
        )
    return weight


def _checked_scores(score_N: ArrayLike, positive_N: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    score, positive = np.asarray(score_N, dtype=np.float64), np.asarray(positive_N).astype(bool)
    if score.ndim != 1 or score.shape != positive.shape:
        raise DegenerateError(f"scores have shape {score.shape} and truths {positive.shape}; they need the same length")
    if not ((score >= 0) & (score <= 1)).all():
        raise DegenerateError("scores hold something outside 0 to 1 or not finite; probabilities are needed")
    if not 0 < positive.sum() < len(positive):
        raise DegenerateError(
            f"positive: {positive.sum()} of {counted(len(positive), 'image')}; a ROC curve needs both kinds"
        )
    return score, positive


def _once(
    weighted: Callable[[ArrayLike, ArrayLike, ArrayLike], Floats],
    prob_NK: ArrayLike,
    label_N: ArrayLike,
    weight_N: ArrayLike | None,
) -> float:
    weight = np.ones(np.size(label_N)) if weight_N is None else np.asarray(weight_N)
    return float(weighted(prob_NK, label_N, weight[None])[0])


def _mean(value_N: Floats, weight_RN: NDArray[Any]) -> Floats:
    # Not `@`, whose last bits depend on the number of threads of the linear algebra library.
    mean_R: Floats = np.einsum("rn,n->r", weight_RN, value_N) / weight_RN.sum(axis=1)
    return mean_R


def _area(score_N: Floats, positive_N: NDArray[np.bool_], weight_RN: NDArray[Any]) -> Floats:
    order_L = np.flatnonzero(~positive_N)[np.argsort(score_N[~positive_N])]
    lost_L, won_W = score_N[order_L], score_N[positive_N]
    won_RW = weight_RN[:, positive_N]
    below_RL = np.pad(np.cumsum(weight_RN[:, order_L], axis=1), ((0, 0), (1, 0)))  # weight of the first l negatives
    beaten_RW = (
        below_RL[:, np.searchsorted(lost_L, won_W, "left")] + below_RL[:, np.searchsorted(lost_L, won_W, "right")]
    )
    pairs_R = won_RW.sum(axis=1) * below_RL[:, -1]
    if not (pairs_R > 0).all():
        raise DegenerateError(
            "a resample gives no weight to one of the classes; AUROC needs both, so resample within classes"
        )
    area_R: Floats = (won_RW * beaten_RW).sum(axis=1) / 2 / pairs_R
    return area_R


def _strata(member_N: Ints, label_N: NDArray[Any], groups: int) -> list[Ints]:
    labels, label_N = np.unique(label_N, return_inverse=True)
    has_GK = np.zeros((groups, len(labels)), bool)
    has_GK[member_N, label_N] = True
    kinds, kind_G = np.unique(has_GK, axis=0, return_inverse=True)
    return [np.flatnonzero(kind_G.reshape(-1) == kind) for kind in range(len(kinds))]
