import matplotlib
import numpy as np
import pytest
from PIL import Image

from syntrial.imageset import ImageSet
from syntrial.judging.metrics import auroc
from syntrial.reporting import figures
from tests.fake_scores import Study, outcomes_of, results_in, small_study


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    results = results_in(folder)
    arguments = Study(small_study(), folder).build()
    out = folder / "figures"
    out.mkdir()
    images = ImageSet.open(arguments["held_out_images"])
    return figures.draw_all(out, results, outcomes_of(arguments), images), images, outcomes_of(arguments)


def test_the_curves_have_the_papers_numbers(drawn):
    assert [shown.path.name for shown in drawn[0]["curves"]] == [f"figure-{n:02d}.png" for n in range(4, 12)]
    assert "Figure 9 of the paper, ours: loss of D3" in drawn[0]["curves"][5].caption


def test_every_figure_is_narrow_enough_for_a_phone_and_has_a_description(drawn):
    for shown in (picture for part in ("curves", "answers", "roc") for picture in drawn[0][part]):
        with Image.open(shown.path) as image:
            assert image.width == pytest.approx(figures.WIDTH * figures.DPI, abs=1)
        assert shown.caption
        assert shown.description


def test_a_strip_shows_the_first_images_by_hash_of_its_class_and_kind(drawn):
    _, images, _ = drawn
    shown = {picture.path.name: picture for picture in drawn[0]["samples"]}["samples-1-pneumonia-transfer.png"]
    chosen = [i for i in images.where(label="pneumonia", source="transfer/pneumonia", split="train")]
    first = min(chosen, key=lambda i: images.rows[i].sha256)
    expected = Image.fromarray(images.pixels([first])[0]).resize((figures.CELL, figures.CELL), Image.Resampling.LANCZOS)
    with Image.open(shown.path) as strip:
        assert np.array_equal(np.asarray(strip)[:, : figures.CELL], np.asarray(expected))


def test_there_is_a_strip_for_each_class_and_kind(drawn):
    names = [picture.path.stem for picture in drawn[0]["samples"]]
    classes, kinds = ("0-normal", "1-pneumonia"), ("real", "simple", "transfer")
    assert names == [f"samples-{label}-{kind}" for label in classes for kind in kinds]


def test_an_arm_without_a_line_of_its_own_gets_one_that_no_other_has():
    lines = figures.lines_of([*figures.LINES, "new", "newer"])
    assert [*lines] == [*figures.LINES, "new", "newer"]
    assert len(set(lines.values())) == len(lines)


def test_the_area_under_the_averaged_curve_is_the_mean_auroc(drawn):
    outcome = drawn[2]["held_out"]["original"]
    areas = [auroc(seen.prob, seen.label) for seen in outcome.predictions["external"]]
    assert np.trapezoid(figures.mean_roc(outcome, "external"), figures.GRID) == pytest.approx(np.mean(areas), abs=0.01)


def test_arms_of_a_studys_own_differ_in_colour_from_each_other_and_from_the_reference():
    colours = [colour for colour, _ in figures.lines_of(["original", "half", "alone", "copies"]).values()]
    assert len(set(colours)) == len(colours)


def test_classes_whose_names_look_alike_in_a_file_name_keep_their_own_strips(tmp_path):
    study = small_study(arms=["original"], classes=["a b", "a-b"])
    images = ImageSet.open(Study(study, tmp_path).build()["held_out_images"])
    names = [picture.path.name for picture in figures.samples(tmp_path, images)]
    assert len(set(names)) == len(names) == 6


def test_nobodys_own_matplotlib_settings_change_a_picture(drawn, tmp_path):
    outcomes = drawn[2]["held_out"]
    (tmp_path / "own").mkdir()
    plain = figures.roc(tmp_path, outcomes, "test").path
    with matplotlib.rc_context({"text.usetex": True, "lines.markersize": 20, "savefig.bbox": "tight"}):
        own = figures.roc(tmp_path / "own", outcomes, "test").path
    assert own.read_bytes() == plain.read_bytes()
