"""Which images are alike, and which look like negatives."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syntrial.reading.likeness import alike, chest_likeness, close_pairs, fingerprint, thumbnail
from syntrial.reading.twins import CHESTS, NEGATIVE

ROOT = Path(__file__).parents[2]
SAMPLE = sorted((ROOT / "data" / "sample" / "xray").glob("*/*.png"))
SHARED = ROOT / "../shared/data"


def pixels(path, side=128):
    return np.asarray(Image.open(path).convert("L").resize((side, side), Image.Resampling.LANCZOS))


def again(image, **changes):
    """The same picture, saved as JPEG, made lighter, or reduced and enlarged."""
    picture = Image.fromarray(image)
    if "side" in changes:
        picture = picture.resize((changes["side"],) * 2, Image.Resampling.LANCZOS).resize(picture.size)
    if "lighter" in changes:
        picture = Image.fromarray(
            (np.asarray(picture) * (1 - changes["lighter"]) + 255 * changes["lighter"]).astype(np.uint8)
        )
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=changes.get("quality", 90))
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("changes", [{"quality": 60}, {"side": 96}, {"lighter": 0.1}], ids=str)
def test_a_picture_saved_again_is_close_and_alike(changes):
    close = 0
    for path in SAMPLE[::20]:
        one, other = pixels(path), again(pixels(path), **changes)
        assert alike(one, other)
        close += (fingerprint(thumbnail(one)) ^ fingerprint(thumbnail(other))).bit_count() <= 2
    assert close >= 0.9 * len(SAMPLE[::20])


def test_two_patients_are_not_alike():
    images = [pixels(path) for path in SAMPLE[::13]]
    assert not [1 for i, one in enumerate(images) for other in images[:i] if alike(one, other)]


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 8, 16])
def test_the_search_finds_exactly_the_pairs_that_comparing_all_finds(bits):
    rng = np.random.default_rng(0)
    prints = rng.integers(0, 2**63, 40, dtype=np.uint64)
    near = prints[rng.integers(0, 40, 200)]
    for _ in range(9):
        near = near ^ (np.uint64(1) << rng.integers(0, 64, 200).astype(np.uint64)) * rng.integers(0, 2, 200).astype(
            np.uint64
        )
    every = np.concatenate([prints, near])
    apart = np.bitwise_count(every[:, None] ^ every[None])
    wanted = {(int(i), int(j)) for i, j in np.argwhere(np.triu(apart <= bits, 1))}
    found = list(close_pairs(every, bits))
    assert set(found) == wanted and len(found) == len(wanted)


def test_no_images_have_no_pairs():
    assert list(close_pairs(np.zeros(0, np.uint64), 2)) == []


def looks(*folders):
    paths = [path for folder in folders for path in sorted((SHARED / folder).glob("*"))]
    if not paths:
        pytest.skip(f"the whole sets are not here ({SHARED / folders[0]})")
    return np.array([chest_likeness(thumbnail(pixels(path))) for path in paths])


@pytest.mark.parametrize("name", ["cxr", "cxr_nih", "cxr_full", "cxr_native"])
def test_no_radiograph_is_called_a_negative_and_its_negative_nearly_always_is(name):
    chest = looks(f"{name}/normal", f"{name}/pneumonia")
    assert not (chest < NEGATIVE).any()
    assert (-chest < NEGATIVE).mean() > 0.985  # the negative's correlation is the opposite
    assert np.median(np.abs(chest)) > CHESTS


def test_portraits_are_not_taken_for_a_set_of_chests():
    assert np.median(np.abs(looks("faces"))) < CHESTS


def test_the_negative_of_an_image_correlates_as_much_the_other_way():
    one = pixels(SAMPLE[0])
    assert chest_likeness(thumbnail(255 - one)) == pytest.approx(-chest_likeness(thumbnail(one)), abs=1e-3)
