"""One file at a time: formats and ranges, and what no damage may do."""

import io
import random
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syntrial.config import IngestConfig
from syntrial.reading.archives import File, FileSource
from syntrial.reading.decode import strict, take
from syntrial.reading.dicom import pseudonym
from syntrial.reading.pixels import full_scale, squared

ROOT = Path(__file__).parents[2]
XRAY = next((ROOT / "data" / "sample" / "xray" / "normal").glob("*.png"))
BAD = ROOT / "../shared/data/bad"
GREY = np.asarray(Image.open(XRAY))
MODES = ["L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr", "I;16", "I", "F"]


def taken(content, tmp_path, name="image.png", side=128, **settings):
    """What becomes of bytes under a name."""
    (tmp_path / name).write_bytes(content)
    config = IngestConfig(**settings)
    with strict(config):
        return take(FileSource(tmp_path), File(name, name, len(content)), side, config, "salt")


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def in_mode(mode):
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(GREY.astype(dtype) * (1 if mode == "F" else 257))
    return Image.fromarray(GREY).convert(mode) if mode != "CMYK" else Image.fromarray(GREY).convert("RGB").convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_grey_picture_stored_in_any_mode_comes_out_as_it_was(tmp_path, mode):
    result = taken(saved(in_mode(mode), "PNG" if mode in ("P", "LA") else "TIFF"), tmp_path, "image")
    assert result.outcome == ("accept" if mode == "L" else "convert")
    assert np.abs(result.pixels.astype(int) - GREY).max() <= (2 if mode == "YCbCr" else 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_each_format_without_loss_is_read_without_loss(tmp_path, kind):
    assert np.array_equal(taken(saved(Image.fromarray(GREY), kind), tmp_path, "image").pixels, GREY)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PPM", "ICO"])
def test_a_format_that_is_not_listed_is_no_image(tmp_path, kind):
    assert taken(saved(Image.fromarray(GREY), kind), tmp_path).reason == "not an image"


@pytest.mark.parametrize(
    ("largest", "white"), [(0, 255), (255, 255), (256, 1023), (4095, 4095), (4096, 16383), (65535, 65535)]
)
def test_white_is_the_least_depth_that_holds_the_largest_value(largest, white):
    assert full_scale(largest) == white


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_picture_of_any_depth_in_16_bits_keeps_its_greys(tmp_path, bits):
    deep = np.rint(GREY.astype(float) * (2**bits - 1) / 255).astype(np.uint16)
    result = taken(saved(Image.fromarray(deep), "PNG"), tmp_path)
    assert result.white == 2**bits - 1 and np.array_equal(result.pixels, GREY)


@pytest.mark.parametrize("values", [[-1.0, 5.0], [np.nan, 1.0], [0.0, np.inf], [0.0, 70000.0]])
def test_values_whose_black_or_white_is_not_known_are_refused(tmp_path, values):
    picture = np.resize(np.array(values, np.float32), (64, 64))
    assert taken(saved(Image.fromarray(picture), "TIFF"), tmp_path).reason == "unsupported"


def test_a_16_bit_tiff_whose_zero_is_white_is_turned_round(tmp_path):
    content = bytearray(saved(Image.fromarray((255 - GREY).astype(np.uint16) * 257), "TIFF"))
    entry = content.find(struct.pack("<HHI", 262, 3, 1))
    struct.pack_into("<H", content, entry + 8, 0)
    assert np.array_equal(taken(bytes(content), tmp_path).pixels, GREY)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_turn_is_undone(tmp_path, turn, kind):
    ways = [None, None, 0, 3, 1, 5, 2, 6, 4]  # EXIF orientation -> how Pillow lays a picture so that this undoes it
    lying = Image.fromarray(GREY) if turn == 1 else Image.fromarray(GREY).transpose(Image.Transpose(ways[turn]))
    exif = Image.Exif()
    exif[274] = turn
    result = taken(saved(lying, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})), tmp_path, "image")
    assert np.abs(result.pixels.astype(int) - GREY).mean() < (2 if kind == "JPEG" else 1e-9)
    assert result.reason == ("" if turn == 1 else "turned")


def test_a_jpeg_whose_end_is_missing_behind_an_end_mark_is_truncated(tmp_path):
    whole = saved(Image.fromarray(GREY), "JPEG", quality=95)
    assert taken(whole, tmp_path, "a.jpg").outcome == "accept"
    assert taken(whole[: len(whole) // 2] + b"\xff\xd9", tmp_path, "b.jpg").reason == "truncated"


def test_a_picture_of_more_pixels_than_allowed_is_refused_by_its_header(tmp_path):
    assert taken(saved(Image.fromarray(GREY), "PNG"), tmp_path, max_pixels=GREY.size - 1).reason == "too large"
    assert taken(saved(Image.fromarray(GREY), "PNG"), tmp_path, max_pixels=GREY.size).outcome == "accept"


def test_what_pillow_refuses_by_itself_is_as_before_afterwards():
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with strict(IngestConfig(max_pixels=5000)):
        assert before[0] != Image.MAX_IMAGE_PIXELS == 5000
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_hardly_any_contrast_is_constant(tmp_path):
    dark = (np.random.default_rng(0).random((128, 128)) < 0.01).astype(np.uint8) + np.eye(128, dtype=np.uint8)
    assert taken(saved(Image.fromarray(dark), "PNG"), tmp_path).reason == "constant"


def wide(left, middle, right):
    """Three squares side by side, each of rows 4 grey levels above and below its own grey."""
    texture = np.where(np.arange(64)[:, None] // 8 % 2, 4, 252).astype(np.uint8)  # 252 is -4
    return Image.fromarray(
        np.concatenate([texture + np.full((64, 64), grey, np.uint8) for grey in (left, middle, right)], 1)
    )


def test_squeeze_keeps_all_of_the_picture():
    image = squared(wide(50, 100, 150), 63, "squeeze")
    assert [float(image[:, column].mean()) for column in (10, 31, 52)] == pytest.approx([50, 100, 150], abs=1)


def test_pad_keeps_the_shape_on_black():
    image = squared(wide(50, 100, 150), 63, "pad")
    assert not image[:20].any() and not image[-20:].any()
    assert [float(image[21:42, column].mean()) for column in (10, 31, 52)] == pytest.approx([50, 100, 150], abs=1)


def test_crop_keeps_the_middle():
    image = squared(wide(50, 100, 150), 64, "crop")
    assert set(np.unique(image)) == {96, 104}


def test_reducing_is_antialiased():
    stripes = np.tile(np.array([[0, 255]], np.uint8), (512, 256))
    stripes[:256] = 0
    image = squared(Image.fromarray(stripes), 64, "squeeze")
    assert np.abs(image[40:, 8:-8] - 127.5).max() < 3  # an even grey, where single columns would be black or white


def test_deep_pictures_are_reduced_before_they_are_rounded():
    steps = np.tile(np.linspace(100, 101, 512, dtype=np.float32), (512, 1)) + np.eye(512, dtype=np.float32) * 99
    assert squared(Image.fromarray(steps), 64, "squeeze")[20].max() > 100


def damaged(content, rng):
    """Cut off, bytes flipped, or a piece taken out."""
    broken = bytearray(content[: rng.randrange(len(content))] if rng.random() < 0.3 else content)
    for _ in range(rng.randrange(1, 20)):
        if broken:
            broken[rng.randrange(min(len(broken), 400))] = rng.randrange(256)
    start = rng.randrange(len(broken) + 1)
    return bytes(broken[:start] + broken[start + rng.randrange(50) :])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "DICOM"])
def test_no_damage_to_a_file_raises(tmp_path, kind):
    if kind == "DICOM" and not BAD.exists():
        pytest.skip(f"the DICOM files are not here ({BAD})")
    whole = saved(Image.fromarray(GREY), kind) if kind != "DICOM" else (BAD / "dicom/mono2_8bit.dcm").read_bytes()
    rng = random.Random(kind)
    outcomes = {taken(damaged(whole, rng), tmp_path, max_pixels=10_000_000).outcome for _ in range(150)}
    assert "reject" in outcomes and outcomes <= {"accept", "convert", "warn", "reject"}


def test_a_pseudonym_depends_on_the_salt_and_the_patient_and_shows_neither():
    names = {pseudonym(patient, salt) for patient in ("P1", "P2") for salt in ("", "a", "b")}
    assert len(names) == 6 and all(len(name) == 16 and int(name, 16) >= 0 for name in names)


pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")


def dicom_file(values, **tags):
    """A DICOM file of one picture; `values` as they are stored."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = values.dtype.itemsize * 8
    data.BitsStored, data.HighBit = data.BitsAllocated, data.BitsAllocated - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


DEEP = GREY.astype(np.uint16) * 16
SIGNED = GREY.astype(np.int16) - 128
DICOMS = {
    "12 bits": (DEEP, {"BitsStored": 12, "HighBit": 11}),
    "12 bits called 16": (DEEP, {}),
    "signed and rescaled": (SIGNED, {"BitsStored": 8, "HighBit": 7, "RescaleSlope": 1, "RescaleIntercept": 128}),
    "window": (DEEP + 20_000, {"WindowCenter": 20_000 + 2048, "WindowWidth": 4096}),
    "window of several": (DEEP + 20_000, {"WindowCenter": [22_048, 1], "WindowWidth": [4096, 2]}),
    "negative slope": (4080 - DEEP, {"BitsStored": 12, "HighBit": 11, "RescaleSlope": -1, "RescaleIntercept": 4095}),
    "inverted": (255 - GREY, {"PhotometricInterpretation": "MONOCHROME1"}),
    "colour": (
        np.repeat(GREY[..., None], 3, 2),
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", DICOMS)
def test_dicom_is_shown_as_its_tags_say(tmp_path, case):
    values, tags = DICOMS[case]
    result = taken(dicom_file(values, **tags), tmp_path, "a.dcm")
    assert result.outcome == "convert", result.detail
    assert np.abs(result.pixels.astype(int) - GREY).max() <= 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NumberOfFrames": 2}, "several pages"),
        ({"Rows": 60_000, "Columns": 60_000}, "too large"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "unsupported"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "corrupt"),
        ({"BitsStored": 99}, "corrupt"),
    ],
)
def test_a_dicom_file_that_cannot_be_shown_is_refused_for_its_reason(tmp_path, tags, reason):
    assert taken(dicom_file(GREY, **tags), tmp_path, "a.dcm").reason == reason
