"""An arm is a recipe, and recipes are data: written in a study, read wherever the text arrives."""

import json
import re
from pathlib import Path

import pytest
from builders import drawn_set, real_set

from syntrial.arms import DEFAULT, PRESETS, PROTOCOLS, Recipe, canonical, control_of, recipe_of, text_of
from syntrial.config import StudyConfig, load_study
from syntrial.errors import ConfigError, DegenerateError
from syntrial.imageset import REAL, ImageSet
from syntrial.pool import pool
from syntrial.report import report
from syntrial.reporting.outcomes import Outcome
from syntrial.reporting.results import verdicts_of
from syntrial.settings import settings_of
from syntrial.split import split
from syntrial.train_classifier import train_classifier
from tests.fake_scores import Study, outcomes_of, small_study

HALF = "half: add=simple dose=0.5 against=duplicates"


@pytest.mark.parametrize(
    "written",
    [
        HALF,
        "half:  against=duplicates dose=.50 add=simple ",
        {"name": "half", "add": "simple", "dose": 0.5, "against": "duplicates"},
        {"half": {"add": "simple", "dose": 0.5, "against": "duplicates"}},
        {"half": "add=simple dose=0.5 against=duplicates"},  # what YAML makes of the text without quotes
    ],
)
def test_however_an_arm_is_written_a_study_holds_the_same_text(written):
    assert canonical(written) == HALF
    study = StudyConfig.of({"arms": ["original", "duplicates", written]})
    assert study.arms == ["original", "duplicates", HALF]
    assert study.recipes["half"] == Recipe(add="simple", dose=0.5, against="duplicates", title="half")
    assert list(study.recipes) == ["original", "duplicates", "half"]


@pytest.mark.parametrize(
    "recipe",
    [
        *PRESETS.values(),
        Recipe(add="simple", dose=1 / 3, use="alone", title="simple images, a third alone"),
        Recipe(add="copies", dose=2, augment="online", against="original", title="mine"),
    ],
)
def test_a_recipe_written_out_is_read_back(recipe):
    name, read = recipe_of(text_of("mine", recipe)) if recipe != PRESETS["original"] else recipe_of("original")
    assert read.computes == {**recipe.computes, "dose": recipe.dose and pytest.approx(recipe.dose)}
    assert (read.title, read.against) == (recipe.title, recipe.against)
    assert canonical(text_of(name, read)) == text_of(name, read)


def test_a_preset_written_out_as_it_is_is_that_preset():
    assert canonical({"name": "conventional", "augment": "instead", "title": "D2 conventional"}) == "conventional"


@pytest.mark.parametrize("title", ["it's", 'a "b"', "{{x}}", "back\\slash", "x" * 81, "two\nlines"])
def test_a_title_that_a_pipeline_cannot_carry_is_refused(title):
    with pytest.raises(ConfigError, match="arm half: title is"):
        canonical({"name": "half", "add": "simple", "title": title})


@pytest.mark.parametrize("title", ["", "  "])
def test_an_empty_title_is_refused(title):
    with pytest.raises(ConfigError, match=r"^arm half has an empty title; give one, or leave title out"):
        canonical({"name": "half", "add": "simple", "title": title})


def test_two_arms_of_one_title_are_refused():
    with pytest.raises(ConfigError, match=r"^arms contains an item twice"):
        StudyConfig.of({"arms": ["original", "half: add=simple dose=0.5 title='D1 original'"]})


def test_a_mapping_of_settings_without_a_name_is_refused_as_such():
    with pytest.raises(ConfigError, match=r"^an arm has no name; write it as"):
        canonical({"add": "simple"})


@pytest.mark.parametrize(
    ("arm", "arms", "control"),
    [
        ("simple_gan", ["original", "simple_gan", "duplicates"], "duplicates"),
        ("simple_gan", ["original", "simple_gan"], "original"),
        ("duplicates", ["original", "duplicates"], "original"),
        ("conventional", ["original", "conventional", "duplicates"], "original"),
        ("original", ["original", "duplicates"], ""),
        ("half", ["original", "duplicates", "half: add=simple dose=0.5"], "duplicates"),
        ("half", ["original", "duplicates", "half: add=simple dose=0.5 against=original"], "original"),
        ("half", ["original", "simple_gan", "half: add=simple dose=0.5 against=simple_gan"], "simple_gan"),
    ],
)
def test_an_arm_is_judged_against_the_control_it_names_or_that_of_its_kind(arm, arms, control):
    assert control_of(arm, dict(map(recipe_of, arms))) == control


# A preset more


@pytest.fixture
def seventh():
    """One preset more."""
    PRESETS["seventh"] = Recipe(add="simple", dose=0.5, title="a seventh")
    yield "seventh"
    del PRESETS["seventh"]


def compared(folder):
    """How many comparisons each verdict of a study with the default arms is widened for, and the verdicts."""
    study = small_study()
    verdicts = verdicts_of(study, outcomes_of(Study(study, folder, full_size=False).build())["held_out"])
    return {arm: (verdict.comparisons, verdict.low, verdict.high) for arm, verdict in verdicts.items()}


def test_a_further_preset_changes_no_study_and_widens_no_interval(tmp_path, seventh):
    study, intervals = StudyConfig(), compared(tmp_path / "with")
    assert study.arms == list(DEFAULT) and seventh not in study.arms
    assert StudyConfig.of({"arms": ["original", seventh]}).recipes[seventh].title == "a seventh"
    preset = PRESETS.pop(seventh)
    try:
        assert StudyConfig() == study and settings_of(StudyConfig()) == settings_of(study)
        assert compared(tmp_path / "without") == intervals
    finally:
        PRESETS[seventh] = preset


# An arm more, from a study file to the report


STUDY = """
name: doses
side: 32
seeds: [0]
images_per_class: 12
arms:
  - original
  - half: add=simple dose=0.5
  - {name: only, add: simple, use: alone, against: half, title: generated images only}
generators: {all: {width: 4, latent: 8, batch: 8}}
classifier: {width: 4, epochs: 1}
split: {val_share: 0.25, test_share: 0.25}
resize_check: {full_side: 0}
report: {resamples: 200}
"""


def pooled(folder, protocol, study):
    """The pooled set with the images of a generator called simple, that says of itself what the study does."""
    real, parts = real_set(folder / "real"), folder / "parts"
    split(real, parts, protocol=protocol, config=study.split)
    drawn = [drawn_set(folder / label, parts, "simple", label, study.images_per_class) for label in study.classes]
    pool(parts, drawn, folder / "pool", config=study.split)
    about = json.loads((folder / "pool" / "about.json").read_text())
    for reported in about["generators"].values():
        reported["config"] = {}
    (folder / "pool" / "about.json").write_text(json.dumps(about))
    return folder / "pool"


def test_an_arm_of_its_own_needs_a_study_file_and_no_code(tmp_path):
    (tmp_path / "doses.yaml").write_text(STUDY)
    study = load_study(tmp_path / "doses.yaml")
    images = {protocol: pooled(tmp_path / protocol, protocol, study) for protocol in PROTOCOLS}
    folders = {protocol: [] for protocol in PROTOCOLS}
    for protocol in PROTOCOLS:
        for number, arm in enumerate(study.arms):
            out = tmp_path / protocol / f"arm {number}"
            more = {"config": study.classifier, "augmentation": study.conventional}
            train_classifier(images[protocol], out, arm=arm, seeds=study.seeds, **more)
            folders[protocol].append(out)
    trained = {(found := Outcome.open(folder)).arm: found.about["counts"]["train"] for folder in folders["held_out"]}
    real = trained["original"][REAL]
    whole = ImageSet.open(images["held_out"])
    train = {label: len(whole.where(label=label, source=REAL, split="train")) for label in study.classes}
    half = {f"simple/{label}": round(count / 2) for label, count in train.items()}
    assert trained["half"] == {REAL: real, **half}
    assert trained["only"] == {f"simple/{label}": study.images_per_class for label in study.classes}

    shown = {f"{protocol}_images": images[protocol] for protocol in PROTOCOLS}
    report(tmp_path / "report", study=study.model_dump(), **folders, **shown, full_size=None)
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert results["arms"] == ["original", "half", "only"]
    held_out = results["protocols"]["held_out"]
    assert [held_out[arm]["control"] for arm in results["arms"]] == ["", "original", "half"]
    assert {held_out[arm]["verdict"]["comparisons"] for arm in ("half", "only")} == {2}
    assert "generated images only" in (tmp_path / "report" / "report.html").read_text()


def test_an_arm_that_was_trained_with_another_dose_than_the_study_says_is_refused(tmp_path):
    arms = ["original", "half: add=simple dose=0.5"]
    made = small_study(arms=arms, resize_check={"full_side": 0})
    arguments = Study(made, tmp_path / "study", full_size=False).build()
    arguments["study"] |= {"arms": ["original", "half: add=simple dose=0.25"]}
    with pytest.raises(DegenerateError, match=r"as_printed half: dose was 0\.5, and the study says 0\.25"):
        report(tmp_path / "report", **arguments)


def test_a_report_of_images_whose_generator_the_study_has_not_is_refused(tmp_path):
    made = small_study(arms=["original"], resize_check={"full_side": 0})
    arguments = Study(made, tmp_path / "study", full_size=False).build()
    about = Path(arguments["as_printed_images"]) / "about.json"
    generators = {"own/normal": {"kind": "own", "config": {}}}
    about.write_text(json.dumps({**json.loads(about.read_text()), "generators": generators}))
    with pytest.raises(DegenerateError, match="generator own/normal: the study has no generator own"):
        report(tmp_path / "report", **arguments)


def test_a_title_with_signs_that_mean_something_to_others_is_shown_as_it_is(tmp_path):
    made = small_study(arms=["original", "half: add=simple dose=0.5 title='$_$ | half'"], resize_check={"full_side": 0})
    report(tmp_path / "report", **Study(made, tmp_path / "study", full_size=False).build())
    lines = (tmp_path / "report" / "table.md").read_text().splitlines()
    half, original = (
        [len(re.split(r"(?<!\\)[|]", line)) for line in lines if line.startswith(f"| {title}")]
        for title in ("$_$ \\| half", "D1 original")
    )
    assert half and half == original
