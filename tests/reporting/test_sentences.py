import copy
import math

import pytest

from syntrial.arms import DEFAULT
from syntrial.reporting import sentences
from syntrial.reporting.paper import PAPER_ROWS
from tests.fake_scores import results_in, small_study

PRINTED = [f"{row.val_accuracy:.4f}" for row in PAPER_ROWS.values()]
CUSTOMARY = (10, 15, 20, 25, 30, 33, 40, 50)  # percent


def can_be(accuracy: str, images: int) -> bool:
    nearest = round(float(accuracy) * images)
    return any(f"{right / images:.4f}" == accuracy for right in (nearest - 1, nearest, nearest + 1))


@pytest.mark.parametrize(("images", "accuracy"), [(2680, "0.9259"), (4680, "0.9574")])
def test_no_customary_share_gives_the_printed_accuracy_as_the_report_says(images, accuracy):
    shares = [images * percent / 100 for percent in CUSTOMARY]
    by_class = [2 * rounded(share / 2) for share in shares for rounded in (math.floor, math.ceil)]
    whole = [rounded(share) for share in shares for rounded in (math.floor, math.ceil)]
    assert not any(can_be(accuracy, n) for n in (*whole, *by_class))


def test_the_smallest_validation_set_that_gives_all_printed_accuracies_is_the_one_the_report_names():
    assert next(n for n in range(1, 3000) if all(can_be(accuracy, n) for accuracy in PRINTED)) == 1079


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_in(tmp_path_factory.mktemp("study"))


def test_the_headline_counts_every_comparison_once(results):
    assert f"of {len(DEFAULT) - 1} comparisons: " in sentences.headline(results)
    answers = [
        entry["verdict"]["answer"] for arm, entry in results["protocols"]["held_out"].items() if arm != "original"
    ]
    assert f"{answers.count('helped')} helped, {answers.count('hurt')} hurt" in sentences.headline(results)


def test_the_question_names_the_classes_and_the_number_of_trainings(results):
    assert "tells normal from pneumonia" in sentences.question(results)
    assert f"{len(DEFAULT)} training sets (3 times each" in sentences.question(results)


def test_an_arm_without_generated_validation_images_is_said_to_have_none(results):
    assert "none of its 32 validation images was generated" in sentences.as_printed(results, "original")


def test_a_better_result_at_full_size_is_said_to_be_one(tmp_path):
    study = small_study(arms=["original"])
    found = results_in(tmp_path, study, strengths={"original": 0.2})
    assert found["resize"]["verdict"]["answer"] == "helped"
    assert sentences.resized(found).startswith(
        "64 px against 32 px, the same patients: the full size is better in AUROC"
    )


def test_a_patient_with_images_of_two_classes_is_one_patient(results):
    found = copy.deepcopy(results)
    found["data"]["held_out"]["division"]["groups"]["external"] = 77
    assert "160 images of 77 patients" in sentences.elsewhere(found)


def test_without_images_of_another_source_nothing_is_said_of_them(tmp_path):
    found = results_in(tmp_path, small_study(arms=["original"]), external=False, full_size=False)
    assert sentences.elsewhere(found) == ""
