import copy
import csv
import json
import math

import numpy as np
import PIL
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from syntrial.arms import DEFAULT
from syntrial.errors import DegenerateError
from syntrial.imageset import REAL, ImageSet
from syntrial.reporting.outcomes import Outcome
from syntrial.reporting.results import flat, judged, results_of, spread_of, warnings_of
from syntrial.reporting.sentences import resized
from syntrial.reporting.table import text
from tests.fake_scores import MACHINE, Study, edit_json, edit_rows, outcomes_of, results_in, small_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def results(folder):
    return results_in(folder)


def again(arguments, study):
    images = {name: ImageSet.open(arguments[f"{name}_images"]) for name in ("as_printed", "held_out")}
    full_size = Outcome.open(arguments["full_size"]) if arguments["full_size"] else None
    return results_of(study, outcomes_of(arguments), images, full_size)


def rows_of(folder, protocol, arm, part):
    with open(folder / protocol / arm / "predictions.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == part]


@pytest.mark.parametrize(("protocol", "part"), [("as_printed", "val"), ("held_out", "test"), ("held_out", "external")])
def test_numbers_are_those_that_scikit_learn_has_from_the_same_file(folder, results, protocol, part):
    expected = {"accuracy": [], "auroc": []}
    for seed in ("0", "1", "2"):
        rows = [row for row in rows_of(folder, protocol, "simple_gan", part) if row["seed"] == seed]
        truth, chance = [row["label"] == "pneumonia" for row in rows], [float(row["p_pneumonia"]) for row in rows]
        expected["accuracy"].append(accuracy_score(truth, [p > 0.5 for p in chance]))
        expected["auroc"].append(roc_auc_score(truth, chance))
    for name, each in expected.items():
        reported = results["protocols"][protocol]["simple_gan"]["numbers"][f"{part}_{name}"]
        assert reported["each"] == pytest.approx(each)
        assert reported["mean"] == pytest.approx(np.mean(each))
        assert reported["sd"] == pytest.approx(np.std(each, ddof=1))


def test_training_figures_are_those_of_the_last_epoch(folder, results):
    with open(folder / "held_out" / "original" / "curves.csv", newline="") as file:
        last = [float(row["running_loss"]) for row in csv.DictReader(file) if row["epoch"] == "6"]
    assert results["protocols"]["held_out"]["original"]["numbers"]["running_loss"]["each"] == last


def test_a_single_value_has_no_spread():
    assert spread_of([0.5]) == {"mean": 0.5, "sd": None, "each": [0.5]}


def test_every_arm_but_the_reference_has_a_verdict_widened_for_all_of_them(results):
    verdicts = judged(results)
    assert set(verdicts) == set(DEFAULT) - {"original"}
    assert {entry["verdict"]["comparisons"] for entry in verdicts.values()} == {len(verdicts)}


def test_as_printed_no_arm_has_a_verdict(results):
    assert not any("verdict" in entry for entry in results["protocols"]["as_printed"].values())


def test_an_arm_that_is_far_better_on_unseen_patients_helped_and_one_far_worse_hurt(tmp_path):
    study = small_study(arms=["original", "conventional", "conventional_online"])
    results = results_in(tmp_path, study, strengths={"original": 1.0, "conventional": 0.1, "conventional_online": 3.0})
    answers = {arm: entry["verdict"]["answer"] for arm, entry in judged(results).items()}
    assert answers == {"conventional": "hurt", "conventional_online": "helped"}


def test_a_gan_arm_is_measured_against_duplicates_and_without_them_against_the_originals(tmp_path, results):
    assert results["protocols"]["held_out"]["simple_gan"]["control"] == "duplicates"
    without = results_in(tmp_path, small_study(arms=["original", "simple_gan"]))
    assert without["protocols"]["held_out"]["simple_gan"]["control"] == "original"


def test_validation_images_are_counted_by_what_they_are(folder, results):
    rows = [row for row in rows_of(folder, "as_printed", "simple_gan", "val") if row["seed"] == "0"]
    reported = results["protocols"]["as_printed"]["simple_gan"]["validation"]
    assert reported["images"] == len(rows)
    assert reported["synthetic"] == sum(row["source"] != REAL for row in rows) > 0
    assert reported["seen_by_generators"] == reported["images"] - reported["synthetic"]
    assert results["protocols"]["held_out"]["simple_gan"]["validation"]["synthetic"] == 0


def test_accuracy_on_generated_and_real_validation_images_adds_up_to_the_whole(results):
    entry = results["protocols"]["as_printed"]["simple_gan"]
    reported, share = entry["validation"]["accuracy"], entry["validation"]["synthetic"] / entry["validation"]["images"]
    whole = share * reported["generated"] + (1 - share) * reported["real"]
    assert whole == pytest.approx(entry["numbers"]["val_accuracy"]["mean"])


def test_intervals_hold_the_means(results):
    for entry in results["protocols"]["held_out"].values():
        for part, intervals in entry["intervals"].items():
            for name, (low, high) in intervals.items():
                assert low <= entry["numbers"][f"{part}_{name}"]["mean"] <= high


def test_a_confusion_matrix_adds_up_to_the_test_images(folder, results):
    counts = results["protocols"]["held_out"]["original"]["confusion"]["test"]
    assert np.sum(counts) == pytest.approx(len(rows_of(folder, "held_out", "original", "test")) / 3)


def test_real_images_are_counted_with_their_patients(results):
    assert results["data"]["held_out"]["counts"]["test"]["normal"] == {"images": 32, "groups": 16}
    assert "test" not in results["data"]["as_printed"]["counts"]


def test_the_flat_numbers_are_finite_and_named_by_protocol_arm_and_number(results):
    numbers = flat(results)
    assert all(math.isfinite(value) for value in numbers.values())
    wanted = {
        "held_out.simple_gan.test_auroc",
        "as_printed.original.val_accuracy",
        "held_out.duplicates.smallest_effect",
    }
    assert wanted | {"resize.full.test_auroc"} <= set(numbers)


def test_no_path_stands_in_the_results(folder, results):
    assert str(folder) not in json.dumps(results)


def test_results_read_back_from_json_print_the_same_table(results):
    assert text(json.loads(json.dumps(results, sort_keys=True))) == text(results)


def test_the_resize_check_concludes_where_no_image_was_enlarged(results):
    check = results["resize"]
    assert (check["full_side"], check["side"]) == (64, 32)
    assert check["verdict"]["comparisons"] == 1


@pytest.mark.parametrize("widths", [[63, 80, 128], None])
def test_the_resize_check_concludes_nothing_from_enlarged_images_or_when_nobody_knows(tmp_path, widths):
    study = small_study(arms=["original"])
    arguments = Study(study, tmp_path).build()
    ingest = {"original_width": widths, "original_height": [64, 64, 64]} if widths else {}
    edit_json(arguments["held_out_images"] / "about.json", ingest=ingest)
    results = again(arguments, study)
    assert results["resize"]["verdict"] is None
    assert resized(results).startswith("No conclusion")


def test_the_resize_check_concludes_nothing_from_other_patients(tmp_path):
    study = small_study(arms=["original"])
    arguments = Study(study, tmp_path).build()
    edit_rows(arguments["full_size"] / "predictions.csv", lambda row: {**row, "group": f"another {row['group']}"})
    assert again(arguments, study)["resize"]["verdict"] is None


def test_a_resize_check_of_another_arm_is_refused(tmp_path):
    study = small_study(arms=["original"])
    arguments = Study(study, tmp_path).build()
    edit_json(arguments["full_size"] / "about.json", arm="duplicates")
    with pytest.raises(DegenerateError, match="the resize check needs arm original"):
        again(arguments, study)


def test_what_must_be_known_before_believing_a_number_is_warned_of(tmp_path):
    study = small_study(arms=["original"], seeds=[0])
    reported = " ".join(
        results_in(tmp_path, study, full_size=False, strengths={"original": 0.001}, patients=10)["warnings"]
    )
    for part in (
        "One seed only",
        "The test part has only 4 patients with normal",
        "not clearly better than guessing",
        "under two labels",
    ):
        assert part in reported


def test_a_classifier_that_calls_every_image_the_same_is_warned_of(tmp_path):
    study = small_study(arms=["original"])
    arguments = Study(study, tmp_path, full_size=False).build()
    alike = {"p_normal": "0.4", "p_pneumonia": "0.6"}
    edit_rows(arguments["held_out"][0] / "predictions.csv", lambda row: row | alike if row["seed"] == "2" else row)
    warning = f"the same class is predicted for every test image by 1 of {len(study.seeds)} classifiers"
    assert any(warning in reported for reported in again(arguments, study)["warnings"])


@pytest.mark.parametrize(("patients", "words"), [(1, "only 1 patient with"), (2, "only 2 patients with")])
def test_a_single_patient_is_not_several(results, patients, words):
    found = copy.deepcopy(results)
    found["data"]["held_out"]["counts"]["test"]["normal"]["groups"] = patients
    assert any(words in warning for warning in warnings_of(found))


def test_a_collapsed_generator_is_warned_of_also_where_the_study_looked_away(tmp_path):
    study = small_study(arms=["original"], generators={"all": {"collapse_below": 0}})
    arguments = Study(study, tmp_path, full_size=False).build()
    about = json.loads((arguments["held_out_images"] / "about.json").read_text())
    about["generators"]["simple/normal"]["diversity"] = 0.04
    edit_json(arguments["held_out_images"] / "about.json", generators=about["generators"])
    assert any(
        "simple/normal" in reported and "collapsed" in reported for reported in again(arguments, study)["warnings"]
    )


def test_machines_that_differ_between_arms_are_warned_of(tmp_path):
    study = small_study(arms=["original", "duplicates"])
    arguments = Study(study, tmp_path, full_size=False).build()
    edit_json(arguments["held_out"][1] / "about.json", machine={"torch": "1.0"})
    results = again(arguments, study)
    assert len(results["machines"]) == 2
    assert any("different machines or versions" in reported for reported in results["warnings"])


def test_a_generators_machine_and_that_of_the_full_size_are_reported_and_leave_the_arms_paired(tmp_path):
    study = small_study(arms=["original", "simple_gan"])
    arguments = Study(study, tmp_path).build()
    edit_json(arguments["full_size"] / "about.json", machine={"device": "another"})
    about = json.loads((arguments["as_printed_images"] / "about.json").read_text())
    about["generators"]["simple/normal"]["machines"] = [{"device": "a third"}, MACHINE]
    edit_json(arguments["as_printed_images"] / "about.json", generators=about["generators"])
    results = again(arguments, study)
    assert results["machines"] == [MACHINE, {"device": "another"}, {"device": "a third"}]
    assert results["data"]["held_out"]["generators"]["simple/normal"]["machines"] == [MACHINE]
    assert not any("different machines or versions" in reported for reported in results["warnings"])


def test_the_version_of_what_resizes_every_pixel_is_reported(results):
    assert results["report"]["pillow"] == PIL.__version__
