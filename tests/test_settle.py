"""The study as it runs is the study with what was turned for the run."""

import copy

import pytest

from syntrial.config import load_study
from syntrial.errors import ConfigError
from syntrial.settle import settle

WHOLE = load_study("").model_dump(mode="json")
EPOCHS = " ".join(f"generators.{name}.epochs={one['epochs']}" for name, one in WHOLE["generators"].items())
OWN = {name: WHOLE[name] for name in ("classes", "side", "arms", "seeds", "images_per_class")}


def test_a_study_of_which_nothing_was_turned_stays_as_it_is():
    assert settle(WHOLE, **OWN, epochs=EPOCHS) == WHOLE
    others = {name: value for name, value in WHOLE.items() if name not in OWN}
    assert settle(others, **OWN, epochs=EPOCHS) == WHOLE


def test_what_was_turned_takes_the_place_of_what_the_study_says():
    before = copy.deepcopy(WHOLE)
    turned = {**OWN, "classes": ["sick", "well"], "seeds": [4.0], "arms": ["original"], "side": 64.0}
    after = settle(before, **turned, epochs="generators.simple.epochs=7.0 classifier.epochs=3")
    assert (after["classes"], after["seeds"], after["arms"], after["side"]) == (["sick", "well"], [4], ["original"], 64)
    assert (after["generators"]["simple"]["epochs"], after["classifier"]["epochs"]) == (7, 3)
    assert after["generators"]["transfer"] == WHOLE["generators"]["transfer"]
    assert before == WHOLE


@pytest.mark.parametrize(
    ("own", "epochs", "sentence"),
    [
        ({"side": 40}, "", "side is 40"),
        ({"arms": ["originals"]}, "", "'originals'"),
        ({}, "generators.simple.epochs=0", "generators.simple.epochs is 0"),
        ({}, "classifier.epoch=3", "classifier has no 'epoch'; did you mean 'epochs'"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(own, epochs, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        settle(WHOLE, **{**OWN, **own}, epochs=f"{EPOCHS} {epochs}")
    assert "\n" not in str(caught.value)


def test_an_arm_whose_generator_the_pipeline_does_not_train_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"^arm transfer_gan adds images of transfer, which this"):
        settle(WHOLE, **OWN, epochs="generators.simple.epochs=200")
    assert settle(WHOLE, **{**OWN, "arms": ["original", "simple_gan"]}, epochs="generators.simple.epochs=200")
