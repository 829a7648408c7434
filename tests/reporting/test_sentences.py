import copy
import math
import re

import pytest

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
    answers = [
        entry["verdict"]["answer"] for arm, entry in results["protocols"]["held_out"].items() if arm != "original"
    ]
    counts = [int(count) for count in re.findall(r"\d+", sentences.headline(results))]
    assert counts == [len(answers), *(answers.count(answer) for answer in ("helped", "hurt", "no evidence"))]


def test_the_question_names_the_classes_and_the_number_of_trainings(results):
    assert "distinguishes normal from pneumonia" in sentences.question(results)
    assert f"{len(results['arms'])} training sets ({len(results['seeds'])} times each" in sentences.question(results)


@pytest.mark.parametrize(
    ("arms", "headline", "question"),
    [
        (["original", "duplicates"], "1 comparison on unseen patients: ", "trained on 2 training sets (once each"),
        (
            ["original", "conventional", "duplicates"],
            "2 comparisons on unseen patients: ",
            "3 training sets (once each",
        ),
        (["original"], "The study has a single arm", "trained on 1 training set (once each"),
    ],
)
def test_counts_agree_with_their_nouns(arms, headline, question, tmp_path):
    found = results_in(tmp_path, small_study(arms=arms, seeds=[0]), external=False, full_size=False)
    assert sentences.headline(found).startswith(headline)
    assert question in sentences.question(found)


@pytest.mark.parametrize(
    ("images", "generated", "words"),
    [
        (1, 0, "none of its 1 validation image was generated"),
        (2, 1, "1 of its 2 validation images was generated"),
        (2, 2, "2 of its 2 validation images were generated"),
    ],
)
def test_a_single_validation_image_is_not_several(images, generated, words):
    assert sentences.validated_on({"images": images, "synthetic": generated, "accuracy": {}}) == words


def test_several_classes_are_listed():
    results = {"classes": ["normal", "viral", "bacterial"], "arms": ["original"], "seeds": [0], "side": 32}
    assert "distinguishes normal, viral and bacterial?" in sentences.question(results)


def test_an_arm_without_generated_validation_images_is_said_to_have_none(results):
    assert "none of its 32 validation images was generated" in sentences.as_printed(results, "original")


def test_a_better_result_at_full_size_is_said_to_be_one(tmp_path):
    study = small_study(arms=["original"])
    found = results_in(tmp_path, study, strengths={"original": 0.2})
    assert found["resize"]["verdict"]["answer"] == "helped"
    assert sentences.resized(found).startswith(
        "64 px against 32 px, on the same patients: the full size is better in AUROC"
    )


def test_a_patient_with_images_of_two_classes_is_one_patient(results):
    found = copy.deepcopy(results)
    found["data"]["held_out"]["division"]["groups"]["external"] = 77
    assert "160 images of 77 patients" in sentences.elsewhere(found)


def test_without_images_of_another_source_nothing_is_said_of_them(tmp_path):
    found = results_in(tmp_path, small_study(arms=["original"]), external=False, full_size=False)
    assert sentences.elsewhere(found) == ""
