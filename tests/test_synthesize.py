"""Drawn images: always the same ones, and they carry what their generator has seen."""

import json

import numpy as np
import pytest
from builders import CLASSES, real_set
from cuts import contents

from syntrial.errors import ConfigError, DataError
from syntrial.generators.settings import DcganConfig
from syntrial.imageset import ImageSet
from syntrial.synthesize import BATCH, synthesize
from syntrial.train_generator import train_generator

CONFIG = DcganConfig(width=4, latent=8, batch=8, epochs=4, ema_half_life=10, collapse_below=0)


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """A generator of one class, and a conditional one of both."""
    folder = tmp_path_factory.mktemp("generators")
    real_set(folder / "xrays", 10)
    train_generator(folder / "xrays", folder / "one", kind="simple", label="pneumonia", config=CONFIG)
    conditional = CONFIG.model_copy(update={"conditional": True, "start": "faces"})
    train_generator(
        folder / "xrays", folder / "both", kind="transfer", label="*", config=conditional, start=folder / "one"
    )
    return folder


def drawn(generators, name, out, count):
    numbers = synthesize(generators / name, out, count=count)
    images = ImageSet.open(out)
    images.verify()
    assert numbers == {"images": len(images.rows)}
    return images


def test_a_smaller_draw_is_the_beginning_of_a_larger_one(generators, tmp_path):
    sizes = (5, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 3)
    draws = [drawn(generators, "one", tmp_path / str(count), count) for count in sizes]
    for count, images in zip(sizes, draws, strict=True):
        assert images.rows == draws[-1].rows[:count]
        assert np.array_equal(images.pixels(), draws[-1].pixels()[:count])


def test_a_conditional_draw_has_as_many_of_each_class_and_begins_the_same(generators, tmp_path):
    few, many = (drawn(generators, "both", tmp_path / str(count), count) for count in (3, 70))
    for label in CLASSES:
        assert len(few.where(label=label)) == 3 and len(many.where(label=label)) == 70
        assert [few.rows[i] for i in few.where(label=label)] == [many.rows[i] for i in many.where(label=label)][:3]


def test_the_same_bits_twice(generators, tmp_path):
    for out in ("a", "b"):
        drawn(generators, "one", tmp_path / out, 10)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_no_two_images_are_alike(generators, tmp_path):
    images = drawn(generators, "both", tmp_path / "out", 70)
    assert len({row.sha256 for row in images.rows}) == 140


@pytest.mark.parametrize(
    ("name", "source", "labels"), [("one", "simple/pneumonia", CLASSES[1:]), ("both", "transfer/*", CLASSES)]
)
def test_every_row_carries_its_generator_and_what_it_has_seen(name, source, labels, generators, tmp_path):
    images, real = drawn(generators, name, tmp_path / "out", 2), ImageSet.open(generators / "xrays")
    assert [row.label for row in images.rows] == [label for label in labels for _ in range(2)]
    assert {(row.source, row.group, row.split) for row in images.rows} == {(source, source, "")}
    seen = real.ancestors([i for label in labels for i in real.where(label=label)])
    assert images.lineage == {source: seen} and images.ancestors(range(2)) == seen
    assert images.classes == CLASSES and images.side == 32


def test_the_set_tells_how_its_generator_was_trained(generators, tmp_path):
    about = drawn(generators, "one", tmp_path / "out", 2).about
    trained = json.loads((generators / "one" / "about.json").read_text(encoding="utf-8"))
    assert about["generator"].items() <= trained.items() and about["generator"]["machines"] == trained["machines"] != []
    assert about["generator"]["name"] == "simple/pneumonia" and "config" in about["generator"]
    assert about["parents"] == [{"verb": "train_generator", "name": "simple/pneumonia", "digest": trained["digest"]}]


@pytest.mark.parametrize("count", [0, -1])
def test_no_image_at_all_is_refused(count, generators, tmp_path):
    with pytest.raises(ConfigError, match=f"images_per_class is {count}; it must be 1 or more"):
        synthesize(generators / "one", tmp_path / "out", count=count)


def test_what_is_no_generator_is_refused(generators, tmp_path):
    with pytest.raises(DataError, match="xrays is not a trained generator"):
        synthesize(generators / "xrays", tmp_path / "out", count=1)
    assert not (tmp_path / "out").exists()
