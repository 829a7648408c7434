import math
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as oracle

from syntrial.errors import DegenerateError
from syntrial.judging import metrics

CASES = [(seed, classes) for seed in range(5) for classes in (2, 3, 5)]


def predictions(seed=0, classes=2, count=90, ties=False):
    rng = np.random.default_rng(seed)
    label_N = rng.permutation(np.arange(count) % classes)
    logit_NK = rng.normal(size=(count, classes)) + np.eye(classes)[label_N]
    prob_NK = np.exp(logit_NK) / np.exp(logit_NK).sum(axis=1, keepdims=True)
    if ties:
        prob_NK = np.round(prob_NK, 1) + 0.01
        prob_NK /= prob_NK.sum(axis=1, keepdims=True)
    return prob_NK, label_N


def sklearns_auroc(prob_NK, label_N, weight_N=None):
    if prob_NK.shape[1] == 2:
        return oracle.roc_auc_score(label_N, prob_NK[:, 1], sample_weight=weight_N)
    return np.mean(
        [oracle.roc_auc_score(label_N == k, prob_NK[:, k], sample_weight=weight_N) for k in range(prob_NK.shape[1])]
    )


@pytest.mark.parametrize(("seed", "classes"), CASES)
def test_accuracy_loss_and_confusion_are_scikit_learns(seed, classes):
    prob_NK, label_N = predictions(seed, classes)
    called_N = prob_NK.argmax(axis=1)
    assert metrics.accuracy(prob_NK, label_N) == pytest.approx(oracle.accuracy_score(label_N, called_N))
    assert metrics.log_loss(prob_NK, label_N) == pytest.approx(oracle.log_loss(label_N, prob_NK))
    np.testing.assert_array_equal(
        metrics.confusion_matrix(prob_NK, label_N), oracle.confusion_matrix(label_N, called_N)
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("seed", "classes"), CASES)
def test_auroc_is_scikit_learns_with_ties_weights_and_many_classes(seed, classes, ties):
    prob_NK, label_N = predictions(seed, classes, ties=ties)
    weight_N = np.random.default_rng(seed).integers(0, 4, len(label_N))
    assert metrics.auroc(prob_NK, label_N) == pytest.approx(sklearns_auroc(prob_NK, label_N))
    assert metrics.auroc(prob_NK, label_N, weight_N) == pytest.approx(sklearns_auroc(prob_NK, label_N, weight_N))


@pytest.mark.parametrize("classes", [3, 5])
def test_auroc_of_many_classes_is_scikit_learns_macro_one_against_the_rest(classes):
    prob_NK, label_N = predictions(0, classes)
    macro = oracle.roc_auc_score(label_N, prob_NK, multi_class="ovr", average="macro")
    assert metrics.auroc(prob_NK, label_N) == pytest.approx(macro)


@pytest.mark.parametrize("name", metrics.WEIGHTED)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_weight_counts_as_so_many_copies_of_the_image(name, classes):
    prob_NK, label_N = predictions(1, classes)
    weight_RN = np.random.default_rng(1).integers(0, 4, (5, len(label_N)))
    weighted = metrics.WEIGHTED[name]
    copied = [
        weighted(prob_NK.repeat(weight_N, axis=0), label_N.repeat(weight_N), np.ones((1, weight_N.sum())))[0]
        for weight_N in weight_RN
    ]
    np.testing.assert_allclose(weighted(prob_NK, label_N, weight_RN), copied)


def test_auroc_is_one_for_perfect_half_for_constant_and_zero_for_reversed_scores():
    prob_NK, label_N = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), np.array([0, 0, 1])
    assert metrics.auroc(prob_NK, label_N) == 1
    assert metrics.auroc(np.full((3, 2), 0.5), label_N) == 0.5
    assert metrics.auroc(prob_NK[:, ::-1], label_N) == 0


def test_a_certain_error_costs_what_keras_charges_and_not_infinity():
    assert metrics.log_loss([[1.0, 0.0]], [1]) == pytest.approx(-math.log(1e-7))
    assert metrics.log_loss([[1.0, 0.0]], [0]) == pytest.approx(-math.log(1 - 1e-7))


def test_guessing_loses_the_logarithm_of_the_number_of_classes():
    assert metrics.log_loss(np.full((7, 4), 0.25), [0, 1, 2, 3, 0, 1, 2]) == pytest.approx(math.log(4))


@pytest.mark.parametrize(("seed", "classes"), CASES)
def test_sensitivity_and_specificity_are_recall_of_a_class_and_of_the_others(seed, classes):
    prob_NK, label_N = predictions(seed, classes)
    called_N = prob_NK.argmax(axis=1)
    sensitivity_K, specificity_K = metrics.sensitivity_specificity(prob_NK, label_N)
    for k in range(classes):
        assert sensitivity_K[k] == pytest.approx(oracle.recall_score(label_N == k, called_N == k))
        assert specificity_K[k] == pytest.approx(oracle.recall_score(label_N != k, called_N != k))


@pytest.mark.parametrize(("seed", "classes"), CASES)
def test_brier_is_scikit_learns(seed, classes):
    prob_NK, label_N = predictions(seed, classes)
    reported = prob_NK[:, 1] if classes == 2 else prob_NK
    assert metrics.brier(prob_NK, label_N) == pytest.approx(oracle.brier_score_loss(label_N, reported))


def test_a_coin_has_a_brier_score_of_a_quarter():
    assert metrics.brier(np.full((4, 2), 0.5), [0, 1, 1, 1]) == 0.25


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    prob_NK = np.array([[0.3, 0.7]] * 10)
    assert metrics.calibration_error(prob_NK, [1] * 7 + [0] * 3) == pytest.approx(0)
    assert metrics.calibration_error(prob_NK, [1] * 4 + [0] * 6) == pytest.approx(0.3)


def test_calibration_error_weighs_bins_by_their_images_and_does_not_let_them_cancel():
    prob_NK = np.array([[0.05, 0.95]] * 6 + [[0.45, 0.55]] * 2)
    label_N = [1, 1, 1, 0, 0, 0, 1, 1]
    assert metrics.calibration_error(prob_NK, label_N) == pytest.approx(6 / 8 * 0.45 + 2 / 8 * 0.45)


def test_confidence_on_a_bin_edge_belongs_to_the_bin_below():
    prob_NK = np.array([[0.0, 1.0], [0.5, 0.5], [0.49, 0.51]])
    assert metrics.calibration_error(prob_NK, [1, 1, 1], bins=2) == pytest.approx((0.5 + 0.49) / 3)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_full_roc_curve_is_scikit_learns_with_a_finite_first_threshold(seed, ties):
    prob_NK, label_N = predictions(seed, ties=ties)
    fpr, tpr, threshold = oracle.roc_curve(label_N, prob_NK[:, 1], drop_intermediate=False)
    ours = metrics.roc_points(prob_NK[:, 1], label_N == 1)
    np.testing.assert_allclose(ours, [fpr, tpr, np.minimum(threshold, 1)])


@pytest.mark.parametrize("most", [2, 10, 200])
def test_a_thinned_roc_curve_keeps_its_ends_and_stays_on_the_curve(most):
    prob_NK, label_N = predictions(0, count=1000)
    whole = {*zip(*metrics.roc_points(prob_NK[:, 1], label_N == 1, 5000), strict=True)}
    fpr, tpr, threshold = metrics.roc_points(prob_NK[:, 1], label_N == 1, most)
    assert len(fpr) == most and {*zip(fpr, tpr, threshold, strict=True)} <= whole
    assert (fpr[0], tpr[0], threshold[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1, 1)
    assert np.isfinite(threshold).all() and (np.diff(threshold) <= 0).all()


@pytest.mark.parametrize(("scores", "positives"), [([0.1, 0.2], [1, 1]), ([0.1, 2], [0, 1]), ([0.1], [0, 1])])
def test_a_roc_curve_of_something_else_is_refused(scores, positives):
    with pytest.raises(DegenerateError):
        metrics.roc_points(scores, positives)


def test_resampling_moves_whole_patients_and_keeps_every_label():
    group_N = np.array(["a", "a", "b", "c", "c", "c", "d", "e"])
    label_N = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    blocks = list(metrics.resample_groups(group_N, label_N, 300, np.random.default_rng(0), block=80))
    weight_RN = np.concatenate(blocks)
    assert weight_RN.shape == (300, 8) and len(blocks) == 30
    assert (weight_RN[:, 0] == weight_RN[:, 1]).all() and (weight_RN[:, 3] == weight_RN[:, 5]).all()
    patient_RG = weight_RN[:, [0, 2, 3, 6, 7]]
    assert (patient_RG[:, [0, 1, 3]].sum(axis=1) == 3).all() and (patient_RG[:, [2, 4]].sum(axis=1) == 2).all()


def test_a_patient_with_images_of_both_labels_is_drawn_with_their_like():
    group_N, label_N = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 0, 1, 1])
    (weight_RN,) = metrics.resample_groups(group_N, label_N, 50, np.random.default_rng(0))
    assert (weight_RN[:, :3] == 1).all() and (weight_RN[:, 3] + weight_RN[:, 4] == 2).all()


@pytest.mark.parametrize(("groups", "labels", "resamples"), [([1, 2], [0], 9), ([], [], 9), ([1, 2], [0, 1], 0)])
def test_a_bootstrap_of_nothing_is_refused(groups, labels, resamples):
    with pytest.raises(DegenerateError, match="it needs one or more of each"):
        metrics.resample_groups(groups, labels, resamples, np.random.default_rng(0))


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_the_single_numbers_by_name_and_finite(classes):
    prob_NK, label_N = predictions(classes=classes)
    scores = metrics.scores(prob_NK, label_N)
    assert list(scores) == ["accuracy", "loss", "auroc", "sensitivity", "specificity", "brier", "calibration_error"]
    assert all(type(value) is float and math.isfinite(value) for value in scores.values())
    sensitivity_K, specificity_K = metrics.sensitivity_specificity(prob_NK, label_N)
    reported = slice(1, 2) if classes == 2 else slice(0, 4)
    assert scores["sensitivity"] == pytest.approx(sensitivity_K[reported].mean())
    assert scores["specificity"] == pytest.approx(specificity_K[reported].mean())


def test_probabilities_of_a_single_precision_softmax_are_taken():
    prob_NK, label_N = predictions()
    assert metrics.accuracy(prob_NK.astype(np.float16), label_N) == metrics.accuracy(prob_NK, label_N)


FAULTS = {
    "has none of 2 images": ([[0.4, 0.6], [0.2, 0.8]], [1, 1]),
    "they need a row per image": (np.zeros((0, 2)), np.zeros(0, int)),
    "have shape \\(2,\\)": ([0.4, 0.6], [0, 1]),
    "two or more columns": ([[1.0], [1.0]], [0, 0]),
    "not finite in 1 of 2 rows": ([[math.nan, 0.6], [0.2, 0.8]], [0, 1]),
    "as low as -0.1": ([[-0.1, 1.1], [0.2, 0.8]], [0, 1]),
    "a row sums to 0.5 off 1": ([[0.7, 0.8], [0.2, 0.8]], [0, 1]),
    "labels run from 0 to 2; 2 columns allow 0 to 1": ([[0.4, 0.6], [0.2, 0.8]], [0, 2]),
    "labels run from -1": ([[0.4, 0.6], [0.2, 0.8]], [-1, 0]),
    "whole numbers are needed, one for each of 2 rows": ([[0.4, 0.6], [0.2, 0.8]], [0]),
    "labels are float64": ([[0.4, 0.6], [0.2, 0.8]], [0.0, 1.0]),
}


@pytest.mark.parametrize("sentence", FAULTS)
def test_what_cannot_be_judged_is_refused_by_name(sentence):
    with pytest.raises(DegenerateError, match=sentence):
        metrics.scores(*FAULTS[sentence])


@pytest.mark.parametrize("weights", [[1, 0], [-1, 1, 1], [0, 0, 0], [math.nan, 1, 1], [1, 0, 1]])
def test_weights_that_leave_nothing_to_judge_are_refused(weights):
    with pytest.raises(DegenerateError):
        metrics.auroc([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]], [0, 1, 0], weights)


BITS = """
import numpy as np
from syntrial.judging import metrics
rng = np.random.default_rng(0)
prob_N, label_N = rng.random(20_000), np.arange(20_000) % 2
print(metrics.log_loss(np.stack([prob_N, 1 - prob_N], axis=1), label_N).hex())
"""


def test_the_bits_do_not_depend_on_the_threads_of_numpy():
    printed = {
        subprocess.run(
            [sys.executable, "-c", BITS],
            env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, 2)
    }
    assert len(printed) == 1
