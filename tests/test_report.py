import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from syntrial.arms import DEFAULT
from syntrial.errors import ConfigError, DegenerateError
from syntrial.report import report
from syntrial.reporting.paper import PAPER_ROWS
from syntrial.settings import settings_of
from tests.fake_scores import Study, edit_json, edit_rows, small_study

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: text, images, links, and whether each element that opens closes."""

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.seen, self.ids = [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.seen if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    numbers = report(folder / "out", **Study(small_study(), folder).build())
    return folder / "out", numbers


@pytest.fixture(scope="module")
def page(made):
    return Page((made[0] / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def words(page):
    return " ".join(" ".join(page.text).split())


def test_everything_a_person_gets_is_there(made):
    names = {path.name for path in made[0].iterdir()}
    assert names == {"report.html", "summary.md", "table.md", "table.csv", "results.json", "about.json", "figures"}
    assert {f"figure-{n:02d}.png" for n in range(4, 12)} <= {path.name for path in (made[0] / "figures").iterdir()}


def test_the_page_is_one_small_file_that_loads_nothing(made, page):
    assert (made[0] / "report.html").stat().st_size < 3 * 2**20
    assert page.open == []
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not {tag for tag, _ in page.seen} & {"script", "link", "iframe", "object", "base"}
    assert "@import" not in (made[0] / "report.html").read_text()
    assert "url(" not in (made[0] / "report.html").read_text()


def test_every_link_leads_to_a_place_on_the_page(page):
    targets = {link["href"] for link in page.all("a")}
    assert targets
    assert targets <= {f"#{name}" for name in page.ids}
    assert len(set(page.ids)) == len(page.ids)


def test_every_image_is_described_for_those_who_cannot_see_it(page):
    assert len(page.all("img")) >= 18
    assert all(len(image["alt"]) > 10 for image in page.all("img"))


def test_no_number_is_missing_or_not_finite(words):
    assert not re.search(r"\b(nan|NaN|inf|None|null)\b", words)


def test_every_setting_stands_there_with_its_meaning_and_source(words):
    for row in settings_of(small_study()):
        for key in ("name", "meaning", "source"):
            assert " ".join(row[key].split()) in words


def test_settings_that_differ_from_the_defaults_are_marked_and_others_are_not(words):
    changed = {"name", "side", "images_per_class", "classifier.epochs", "classifier.width", "resize_check.full_side"}
    changed |= {"report.resamples"}
    marked = re.findall(r"◆ (\S+)", words.split("marked ◆", 1)[1])
    assert set(marked) == changed


def test_the_papers_figures_and_the_erratum_stand_there(words):
    for row in PAPER_ROWS.values():
        for value in (row.train_accuracy, row.val_accuracy, row.train_loss, row.val_loss):
            assert f"{value:.4f}" in words
    assert "0.6700" in words
    assert "97.86 %" in words


def test_the_answer_comes_before_anything_it_rests_on(words):
    order = (
        "Would generated images",
        "on unseen patients:",
        "Held out: real test images",
        "Figure 4 of the paper",
        "ROC curves on",
        "normal: drawn by simple",
        "files found",
        "The same classifier at both sizes",
        "classifier.width",
        "0.6700 as the training loss",
    )
    places = [words.index(part) for part in order]
    assert places == sorted(places)


def test_every_arm_has_its_verdict_as_a_word_and_as_a_sentence(made, words):
    results = json.loads((made[0] / "results.json").read_text())
    for arm, entry in results["protocols"]["held_out"].items():
        if arm != "original":
            assert entry["verdict"]["sentence"] in words
            assert entry["verdict"]["answer"] in entry["verdict"]["sentence"]


def test_the_intervals_are_said_to_come_from_what_they_come_from(words):
    assert "rests on the variation between seeds and on the covariance of seeds over resampled patients" in words
    assert "That of the resize check is not widened" in words
    assert "seeds are not resampled" in words  # next to report.resamples


def test_what_validated_as_printed_is_told_in_plain_words(words):
    assert "8 of its 40 validation images were generated, its generators were trained on 32 of the real ones" in words


def test_images_of_another_source_are_told_apart(words):
    assert "On images from another source (160 images of 80 patients, read as nih-chestxray14)" in words
    assert "lower, and the intervals do not overlap" in words


def test_the_summary_holds_the_answers_and_fits_a_dashboard(made):
    reported = (made[0] / "summary.md").read_text()
    assert "Resize check: 64 px against 32 px" in reported
    assert reported.count("| D3 original + simple GAN |") == 4
    assert len(reported) < 50_000


def test_the_same_study_gives_the_same_results_bit_for_bit(made, tmp_path):
    report(tmp_path / "elsewhere", **Study(small_study(), tmp_path).build())
    for name in ("results.json", "about.json", "table.csv", "table.md", "summary.md"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (made[0] / name).read_bytes()


def test_everything_it_rests_on_is_recorded_by_digest(made):
    about = json.loads((made[0] / "about.json").read_text())
    verbs = [parent["verb"] for parent in about["parents"]]
    assert (about["verb"], verbs.count("pool"), verbs.count("train_classifier")) == ("report", 2, 2 * len(DEFAULT) + 1)
    assert all(parent["digest"] for parent in about["parents"])


def test_returned_numbers_are_those_of_the_results(made):
    results = json.loads((made[0] / "results.json").read_text())
    expected = results["protocols"]["held_out"]["simple_gan"]["numbers"]["test_auroc"]["mean"]
    assert made[1]["held_out.simple_gan.test_auroc"] == expected


def test_a_study_of_one_arm_and_one_seed_has_a_report_that_says_so(tmp_path):
    study = small_study(arms=["original"], seeds=[0], resize_check={"full_side": 0})
    report(tmp_path / "out", **Study(study, tmp_path, external=False, full_size=False).build())
    reported = " ".join(Page((tmp_path / "out" / "report.html").read_text()).text)
    assert "The study has a single arm, so nothing was compared" in reported
    assert "One seed only" in reported
    assert "The resize check was switched off" in reported


def test_three_classes_are_reported_and_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    study = small_study(arms=["original", "duplicates"], classes=["normal", "pneumonia", "<b>other & more"])
    report(tmp_path / "out", **Study(study, tmp_path, full_size=False).build())
    source = (tmp_path / "out" / "report.html").read_text()
    assert "<b>" not in source
    assert html.escape("<b>other & more") in source
    assert "predicted pneumonia" in source
    assert "means over the classes, each against all others" in source


def test_facts_that_an_older_set_does_not_have_are_left_out(tmp_path):
    study = small_study(arms=["original"])
    arguments = Study(study, tmp_path, external=False, full_size=False).build()
    for name in ("as_printed_images", "held_out_images"):
        path = arguments[name] / "about.json"
        about = json.loads(path.read_text())
        path.write_text(
            json.dumps({key: about[key] for key in about if key not in ("ingest", "division", "generators")})
        )
    report(tmp_path / "out", **arguments)
    assert "files found" not in (tmp_path / "out" / "report.html").read_text()


def test_a_refused_report_leaves_nothing_behind(tmp_path):
    arguments = Study(small_study(arms=["original", "duplicates"]), tmp_path, full_size=False).build()
    edit_rows(arguments["held_out"][1] / "predictions.csv", lambda row: None if row["split"] == "test" else row)
    with pytest.raises(DegenerateError, match="duplicates has no test images"):
        report(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


OTHERS = {
    "side": ({"side": 128, "resize_check": {"full_side": 256}}, "pooled: side was 32, and the study says 128"),
    "classes": ({"classes": ["normal", "sick"]}, r"pooled: classes was \['normal', 'pneumonia'\], and the study says"),
    "split": ({"split": {"seed": 7}}, "pooled: split.seed was 0, and the study says 7"),
    "generators": (
        {"generators": {"transfer": {"lr": 0.5}}},
        "generator transfer/normal: generators.transfer.lr was 0.0002, and the study says 0.5",
    ),
    "draws": ({"images_per_class": 21}, "generator simple/normal: images_per_class was 20, and the study says 21"),
    "classifier": ({"classifier": {"lr": 0.5}}, "original: classifier.lr was 0.001, and the study says 0.5"),
    "augmentation": (
        {"conventional": {"vertical_flip": True}},
        "original: conventional.vertical_flip was False, and the study says True",
    ),
    "full size": ({"resize_check": {"full_side": 128}}, "original: side was 64, and the study says 128"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_setting_that_nothing_was_made_with_is_refused(other, tmp_path):
    change, sentence = OTHERS[other]
    study = small_study(arms=["original", "duplicates"])
    arguments = Study(study, tmp_path, external=False).build()
    said = study.model_dump(mode="json")
    for name, value in change.items():
        said[name] = merged(said[name], value)
    with pytest.raises(DegenerateError, match=sentence):
        report(tmp_path / "out", **{**arguments, "study": said})


def test_an_arm_with_another_classifier_than_the_others_is_refused(tmp_path):
    arguments = Study(small_study(arms=["original", "duplicates"]), tmp_path, full_size=False).build()
    about = arguments["held_out"][1] / "about.json"
    edit_json(about, config={**json.loads(about.read_text(encoding="utf-8"))["config"], "epochs": 99})
    with pytest.raises(DegenerateError, match=r"held_out duplicates: classifier\.epochs was 99, and the study says"):
        report(tmp_path / "out", **arguments)


def test_generated_images_that_were_divided_by_another_share_are_refused(tmp_path):
    arguments = Study(small_study(arms=["original", "duplicates"]), tmp_path, full_size=False).build()
    about = arguments["as_printed_images"] / "about.json"
    edit_json(about, config={**json.loads(about.read_text(encoding="utf-8"))["config"], "val_share": 0.3})
    with pytest.raises(DegenerateError, match=r"pooled: split\.val_share was 0\.3, and the study says 0\.2"):
        report(tmp_path / "out", **arguments)


def merged(said, change):
    if not isinstance(change, dict):
        return change
    return {**said, **{name: merged(said.get(name), value) for name, value in change.items()}}


def test_an_arm_that_was_trained_on_another_pooled_set_is_refused(tmp_path):
    arguments = Study(small_study(arms=["original", "duplicates"]), tmp_path, full_size=False).build()
    swapped = {"as_printed_images": arguments["held_out_images"]}
    with pytest.raises(DegenerateError, match=r"as_printed original was not trained on .*held_out/pooled"):
        report(tmp_path / "out", **{**arguments, **swapped})
    edit_json(arguments["held_out"][1] / "about.json", parents=[{"verb": "pool", "digest": "0" * 64}])
    with pytest.raises(DegenerateError, match="held_out duplicates was not trained on"):
        report(tmp_path / "out", **arguments)


def test_an_impossible_study_is_refused(tmp_path):
    arguments = Study(small_study(arms=["original"]), tmp_path, full_size=False).build()
    with pytest.raises(ConfigError, match="side"):
        report(tmp_path / "out", **{**arguments, "study": {**arguments["study"], "side": 33}})


def test_reporting_needs_no_torch_and_begins_without_matplotlib():
    program = "import sys, syntrial.report; sys.exit(bool({'torch', 'matplotlib'} & {*sys.modules}))"
    assert (
        subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode
        == 0
    )
