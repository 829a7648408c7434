"""Settings are checked where they are defined, and a mistake gets one sentence."""

from pathlib import Path

import pytest

from syntrial.classifiers.settings import CnnConfig
from syntrial.config import StudyConfig, load_study
from syntrial.errors import ConfigError
from syntrial.generators.settings import DcganConfig
from syntrial.settings import settings_of

STUDIES = sorted((Path(__file__).parents[1] / "studies").glob("*.yaml"))
QUICK = Path(__file__).parents[1] / "studies" / "quick.yaml"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("generators.simpel.epochs=5", "generators has 'simpel', which no arm adds; did you mean 'simple'[?]$"),
        ("generators.simple.epoch=5", "generators.simple has no 'epoch'; did you mean 'epochs'?"),
        ("clasifier.epochs=5", "there is no 'clasifier'; did you mean 'classifier'?"),
        ("generators.simple.epochs=0", "generators.simple.epochs is 0; input should be greater than or equal to 1"),
        ("classifier.epochs=yes", "classifier.epochs is True; it needs a number"),
        ("seeds=[0, on]", r"seeds is \[0, True\]; it needs a number"),
        ("classifier.epochs=2.5", "classifier.epochs is 2.5"),
        ("split.val_share=half", "split.val_share is 'half'"),
        ("side=60", "side is 60; the generators draw 32, 64, 128, 256 px"),
        ("arms=[original, gan]", "yaml: arms: there is no arm 'gan'; there are original, conventional"),
        ("arms=[duplicates]", "arms lacks 'original'"),
        (
            "arms=[original, {name: half, add: simpel}]",
            "an arm adds 'simpel', which no generator of the study draws; did you mean 'simple'[?]$",
        ),
        ("arms=[original, {name: half, ad: simple}]", "arms: arm half: it has no 'ad'; did you mean 'add'[?]$"),
        ("arms=[original, {add: simple, dose: 1}]", "arms: an arm has no name"),
        ("arms=[original, 'half: add=simple dose=0']", "arm half: dose is 0; it is a multiple"),
        ("arms=[original, 'half: add=simple dose=-1']", "arm half: dose is -1;"),
        ("arms=[original, 'half: add=simple dose=some']", "arm half: dose is 'some'; it is a number"),
        ("arms=[original, 'half: add=simple dose=nan']", "arm half: dose is nan;"),
        ("arms=[original, 'half: dose=1']", "arm half: dose is given but add is not"),
        ("arms=[original, 'half: add=faces']", "an arm adds 'faces', which no generator of the study draws"),
        ("arms=[original, 'half: add=simple against=half']", "arm half is judged against itself"),
        (
            "arms=[original, 'half: add=simple against=duplicates']",
            "against 'duplicates'; the study has orig",
        ),
        ("arms=[original, 'half: add=simple', 'half: add=transfer']", "arms contains an item twice"),
        ("arms=[original, 'duplicates: add=simple']", "arm duplicates is a preset, and means 'original [+] dup"),
        ("arms=[original, 'same: title=other']", "arm same adds and changes nothing"),
        ("arms=[original, 'half: use=alone']", "arm half: use=alone trains on a generator's images only"),
        ("arms=[original, 'half: add=simple use=pretrain']", "arm half: use is 'pretrain'; it may be pool, alone"),
        ("arms=[original, 'half: augment=on']", "arm half: augment is 'on'; it may be instead, online"),
        ("arms=[original, 'half: add=simple add=simple']", "arm half: add is given twice"),
        ("arms=[original, 'a b: add=simple']", "arm 'a b': a name has at most 40 letters"),
        ("arms=[original, 7]", "7 is not an arm; give a preset"),
        ("arms=original", "arms is 'original'"),
        ("classifier.widht=8", "yaml: classifier has no 'widht'; did you mean 'width'[?]$"),
        ("classifier.width=0", "yaml: classifier.width is 0; input should be greater than or equal to 4$"),
        ("seeds=[1, 1]", r"seeds contains an item twice: \[1, 1\]"),
        ("seeds=[-1]", "seeds are 0 or more"),
        ("classes=[normal]", "classes is"),
        ("classes=[a/b, c]", "neither '/' nor"),
        ("generators.simple.loss=wgan_gp", "normalisation is batch, but loss wgan_gp"),
        ("classes=['', c]", "nor be empty"),
        ("generators.all.epoch=5", "yaml: generators.all has no 'epoch'; did you mean 'epochs'[?]$"),
        ("generators.simple.architecture=dcgn", "generators.simple.architecture is 'dcgn'; input should be 'dcgan'"),
        ("classifier.architecture=resnet", "yaml: classifier.architecture is 'resnet'; it may be cnn$"),
        ("generators.simple.loss=wasserstein", "generators.simple.loss is 'wasserstein'"),
        ("generators.simple.diffaugment=[colour]", "diffaugment has no 'colour'; it has color, translation, cutout"),
        ("generators.transfer.width=8", "yaml: generators.transfer.width is 8 and generators.faces.width is 16"),
        (
            "generators.transfer.normalisation=spectral",
            "transfer.normalisation is 'spectral' and generators.faces",
        ),
        (
            "generators.simple.transfer_discriminator=false",
            "simple.transfer_discriminator is False, which has no effect on a generator without",
        ),
        (
            "generators.faces.transfer_discriminator=false",
            "faces.transfer_discriminator is False, which has no effect on",
        ),
        ("conventional.cval=9", "conventional.cval is 9, which has no effect with fill_mode nearest"),
        (
            "generators.simple.gradient_penalty=5",
            "simple.gradient_penalty is 5, which has no effect with loss non_saturating",
        ),
        (
            "generators.simple={ema_half_life: 0, ema_ramp_up: 0.1}",
            "simple.ema_ramp_up is 0.1, which has no effect with ema_half_life 0",
        ),
        ("classes=[Normal, 'normal ']", r"classes contains an item twice: \['Normal', 'normal '\]"),
        ("generators.all.lr=-1", "^quick.yaml: generators.all.lr is -1; input should be greater than 0$"),
        (
            "generators.all.loss=wgan_gp",
            "^quick.yaml: generators.all.normalisation is batch, but loss wgan[^;]*; [^;]*$",
        ),
        (
            "generators={a/b: {}}",
            "^quick.yaml: generators.a/b cannot name a generator; a name has at most 31 letters, digits, - and _",
        ),
        ("generators={'*': {}}", "^quick.yaml: generators.[*] cannot name a generator; a name has"),
        (
            "generators={real: {}}",
            "^quick.yaml: generators.real cannot name a generator; .* and is none of all, copies, real$",
        ),
        (
            "generators={copies: {}}",
            "^quick.yaml: generators.copies cannot name a generator",
        ),  # an arm that adds copies needs none
        ("generators={1st: {}}", "^quick.yaml: generators.1st cannot name a generator; .* begins with a letter"),
        ("generators={modern: {widht: 8}}", "^quick.yaml: generators.modern has no 'widht'; did you mean 'width'[?]$"),
        ("generators={modern: 3}", "^quick.yaml: generators.modern is 3; it needs settings by name$"),
        ("generators={modern: {epochs: 0}}", "^quick.yaml: generators.modern.epochs is 0; input should be greater"),
        ("generators.all.architecture=dcgn", "^quick.yaml: generators.all.architecture is 'dcgn'; input should be 'd"),
        ("generators.simple.start=transfer", "generators.simple.start is 'transfer'; input should be '' or 'faces'$"),
        (
            "generators.faces.start=faces",
            "generators.faces.start is 'faces', but faces cannot continue another generator",
        ),
        ("generators.simple={start: faces, width: 8}", "generators.simple.width is 8 and generators.faces.width is 16"),
        ("generators.faces.conditional=true", "faces have one class"),
        ("generators.simple.lr=1e99", "generators.simple.lr is 1e[+]99; input should be less than or equal to 10"),
        ("generators.all.width=1000000", "generators.all.width is 1000000; input should be less than or equal to 1024"),
        ("generators.all.latent=1000000000", "generators.all.latent is 1000000000; input should be less than"),
        ("images_per_class=100000000000", "images_per_class is 100000000000; input should be less than"),
        ("report.resamples=1000000000", "report.resamples is 1000000000; input should be less than"),
        ("ingest.max_pixels=1000", "ingest.min_side is 32 and max_pixels 1000: no image"),
        ("generators.simple.diffaugment=[color, color]", "diffaugment is color, color; each policy may be given once"),
        ("conventional.zoom_range=[yes, yes]", "it needs a number, neither yes nor no"),
        ('classes=["a\\rb", c]', "nor control characters"),
        ("conventional.zoom_range=[2, 1]", "two positive numbers, the smaller first"),
        ("ingest.group_pattern='('", "is not a regular expression"),
        ("resize_check.full_side=64", "full size must be larger"),
        ("name=a b", "name is 'a b'"),
        ("generators.simple.lr=.nan", "generators.simple.lr is nan"),
        ("side", "is not of the form NAME=VALUE"),
        ("side.px=3", "side is a value, not a section"),
        ("side=[", "is not a YAML value"),
    ],
)
def test_a_mistake_gets_one_sentence_that_names_the_place(change, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_study(QUICK, [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("- a list", "holds a list"), ("side: [", "is not YAML"), ("\xff\xfe", "cannot be read|has no|holds a str")],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, text, sentence):
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=sentence):
        load_study(path)


@pytest.mark.parametrize(
    "text", ["side: 64\nside: 32", "generators:\n  simple: {lr: 1}\ngenerators:\n  all: {width: 8}"]
)
def test_a_setting_that_stands_there_twice_is_refused_by_name_and_line(text, tmp_path):
    (tmp_path / "odd.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"'{text.partition(':')[0]}' is given twice .*line [23]"):
        load_study(tmp_path / "odd.yaml")


def test_a_missing_study_says_which_there_are(tmp_path):
    with pytest.raises(ConfigError, match="there is no study file"):
        load_study(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_survives_a_round_trip(path):
    study = load_study(path)
    assert study.name == path.stem
    assert StudyConfig.of(study.model_dump(mode="json")) == study


def test_the_papers_study_is_the_papers():
    study = load_study(QUICK.with_name("paper.yaml"))
    epochs = [getattr(study.generators, kind).epochs for kind in ("simple", "faces", "transfer")]
    assert epochs == [200, 200, 75]
    assert (study.side, study.images_per_class, study.resize_check.full_side) == (128, 1000, 1024)


def test_a_setting_for_all_generators_gives_way_to_a_generators_own():
    study = load_study(QUICK, ["generators.all.lr=0.5", "generators.simple.lr=0.25"])
    assert (study.generators.faces.lr, study.generators.simple.lr, study.generators.transfer.lr) == (0.5, 0.25, 0.5)


def test_generators_that_no_arm_starts_from_may_differ():
    study = load_study(QUICK, ["arms=[original, simple_gan]", "generators.faces.width=8"])
    assert (study.generators.faces.width, study.generators.transfer.width) == (8, 16)


def test_a_transfer_without_the_faces_discriminator_may_have_another():
    study = load_study(QUICK, ["generators.transfer={transfer_discriminator: false, normalisation: spectral}"])
    assert study.generators.transfer.normalisation == "spectral"


def test_a_study_may_add_generators_of_its_own_that_share_what_stands_under_all():
    study = load_study(QUICK, ["generators.modern={architecture: dcgan, width: 8}"])
    assert list(study.generators.by_name()) == ["faces", "simple", "transfer", "modern"]
    modern = study.generators["modern"]
    assert (modern.width, modern.latent, modern.epochs) == (8, 64, 200)
    assert StudyConfig.of(study.model_dump(mode="json")) == study
    assert study.model_dump(mode="json")["generators"]["modern"]["width"] == 8
    study.generators.refuse_misfits({"modern"})


def test_a_generator_that_an_arm_adds_must_be_there_and_fit_what_it_continues():
    generators = load_study(QUICK, ["generators.modern={start: faces, latent: 8}"]).generators
    with pytest.raises(ValueError, match=r"an arm adds 'modren', which no generator of .*; did you mean 'modern'[?]"):
        generators.refuse_misfits({"modren"})
    with pytest.raises(ValueError, match="an arm adds 'faces', which no generator of the study draws"):
        generators.refuse_misfits({"faces"})
    with pytest.raises(ValueError, match=r"generators.modern.latent is 8 and generators.faces.latent is 64"):
        generators.refuse_misfits({"modern"})


def test_a_generator_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match=r"generators has no 'simpel'; did you mean 'simple'[?]"):
        load_study(QUICK).generators["simpel"]


def test_what_holds_for_transfers_only_may_stand_under_all():
    study = load_study(QUICK, ["generators.all.transfer_discriminator=false"])
    assert not study.generators.transfer.transfer_discriminator
    assert StudyConfig.of(study.model_dump(mode="json")) == study


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+.1e-2", "1.e-3", "0.001", "10e-4"])
def test_a_number_may_have_an_exponent_and_no_point(text, tmp_path):
    (tmp_path / "study.yaml").write_text(f"classifier: {{lr: {text}}}\ngenerators: {{simple: {{ema_half_life: 1e3}}}}")
    for study in (load_study(tmp_path / "study.yaml"), load_study(QUICK, [f"classifier.lr={text}"])):
        assert (study.classifier.lr, study.generators.simple.ema_half_life) == (0.001, 1000)


def test_whole_numbers_that_an_engine_made_floats_of_are_numbers_again():
    assert DcganConfig.of({"epochs": 5.0, "batch": 8.0}).epochs == 5
    assert CnnConfig.of({"epochs": 1}, epochs=9).epochs == 9


def test_every_setting_can_be_listed_with_its_value_and_source():
    rows = {row["name"]: row for row in settings_of(load_study(QUICK))}
    assert rows["generators.simple.epochs"]["value"] == 60
    assert all(row["meaning"] and row["source"] for row in rows.values())
