"""Data as people have them: the commands of the documentation, and a run of a manifest with a second test set."""

import argparse
import json
import re
import shlex
import shutil

import local_runs
import pytest
from local_runs import ROOT, TINY
from reading.test_layouts import COVID19_NEW, COVID19_OLD, KERMANY, NIH, NIH_TEXTS

from pipelines.counts import count_images
from pipelines.flags import add_study, locations_of
from pipelines.graph import ANY_LAYOUT
from syntrial.config import load_study
from syntrial.ingest import ingest
from syntrial.reading.layouts import FACES
from syntrial.store.uris import Location

SAMPLE = {
    name: sorted((ROOT / "data" / "sample" / name).rglob("*.png"))
    for name in ("faces", "xray/normal", "xray/pneumonia")
}
DOWNLOADS = {
    "IMAGES": COVID19_OLD,
    "COVID-19_Radiography_Dataset.zip": COVID19_NEW,
    "ChestXRay2017.zip": KERMANY,
    "NIH_FOLDER": [*NIH, *NIH_TEXTS],
}


def commands():
    """Every command of docs/data.md that runs a study, and the other studies as they are run without a word."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").replace("\\\n", " ")
    said = re.findall(r"^syntrial run (.*)$", text, re.MULTILINE)
    assert len(said) >= 4
    return said + [f"--study studies/{name}.yaml" for name in ("smoke", "quick")]


def fake(names, target):
    """A small download: X-rays, and texts where a name is a text's."""
    folder = target.with_suffix("")
    for name, image in zip(names, SAMPLE["xray/normal"], strict=False):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(NIH_TEXTS[name].encode() if name in NIH_TEXTS else image.read_bytes())
    if target.suffix == ".zip":
        shutil.make_archive(str(folder), "zip", folder)
    return target


def portraits(folder):
    folder.mkdir()
    for path in SAMPLE["faces"][:5]:
        shutil.copyfile(path, folder / path.name)
    return folder


def begun(words, tmp_path):
    """The study and the data of a command, small copies in place of what it names."""
    parser = argparse.ArgumentParser()
    add_study(parser)
    flags = parser.parse_args(shlex.split(words))
    flags.faces = str(portraits(tmp_path / "people"))
    if flags.data in DOWNLOADS:
        flags.data = str(fake(DOWNLOADS[flags.data], tmp_path / flags.data))
    study = load_study(ROOT / flags.study, flags.set)
    return study, locations_of(flags, study)


@pytest.mark.parametrize("words", commands())
def test_what_the_documentation_says_finds_every_image_and_face(words, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study, locations = begun(words, tmp_path)
    counts = count_images(study, locations)
    assert counts.faces == 5 and min(counts.classes[label] for label in study.classes) > 0
    any_layout = study.ingest.model_copy(update=ANY_LAYOUT)
    for name, classes, config in (("data", study.classes, study.ingest), ("faces", [FACES], any_layout)):
        data = str(locations[name])
        numbers = ingest(data, tmp_path / f"{name} set", side=32, classes=classes, config=config, name=name)
        assert numbers["used"] == (counts.total if name == "data" else counts.faces)


def test_a_layout_said_outright_is_that_of_the_images_alone(tmp_path):
    words = "--data ChestXRay2017.zip --set 'classes=[normal, viral]' --set ingest.layout=kermany"
    study, locations = begun(words, tmp_path)
    elsewhere = fake(["normal/a.png", "viral/b.png", "viral/c.png"], tmp_path / "elsewhere")
    locations["external"] = Location.of(elsewhere)
    counts = count_images(study, locations)
    assert (counts.classes, counts.faces, counts.external) == ({"normal": 4, "viral": 2}, 5, 3)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """A manifest without patients, and a folder of other X-rays under the same file names."""
    folder = tmp_path_factory.mktemp("hospitals")
    lines = ["file,label"]
    for label in ("normal", "pneumonia"):
        for place, paths in (("ours", SAMPLE[f"xray/{label}"][:24]), ("theirs", SAMPLE[f"xray/{label}"][100:106])):
            (folder / place / label).mkdir(parents=True)
            for number, path in enumerate(paths):
                shutil.copyfile(path, folder / place / label / f"img_{number:03}.png")
        lines += [f"ours/{label}/img_{number:03}.png,{label}" for number in range(24)]
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def two_runs(hospitals, tmp_path_factory):
    """One run, and another after one of the listed images has become another."""
    runs, words = tmp_path_factory.mktemp("runs"), ("--external", hospitals / "theirs", *TINY)
    first = local_runs.run(runs, "--data", hospitals / "list.csv", *words)
    shutil.copyfile(SAMPLE["xray/normal"][50], hospitals / "ours/normal/img_007.png")
    return first, local_runs.run(runs, "--data", hospitals / "list.csv", *words)


def test_a_second_test_set_is_judged_on_and_never_trains(two_runs):
    run, _ = two_runs
    assert run.code == 0, run.done.stderr[-3000:]
    results = json.loads(run.results)
    counts = results["data"]["held_out"]["counts"]["external"]
    assert {label: count["images"] for label, count in counts.items()} == {"normal": 6, "pneumonia": 6}
    (arm,) = (one for name, one in results["protocols"]["held_out"].items() if name == "original")
    assert "external_auroc" in arm["numbers"]


def test_an_image_that_a_manifest_lists_is_read_again_when_it_has_changed(two_runs):
    first, second = two_runs
    assert second.code == 0, second.done.stderr[-3000:]
    looked = [name for name in second.boxes if name.startswith("ingest")]
    assert len([name for name in first.boxes if name.startswith("ingest")]) == 2
    assert [name for name in looked if "second" in name] == [] and len(looked) == 1
    assert second.results != first.results
