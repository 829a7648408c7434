from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import ndimage

from syntrial.config import AugmentConfig
from syntrial.errors import ConfigError
from syntrial.training.augment import (
    FILLS,
    POLICIES,
    Changes,
    affine,
    affine_matrices,
    brighten,
    conventional,
    diffaugment,
    draw_changes,
)

OFF = {
    "rotation_range": 0,
    "width_shift_range": 0,
    "height_shift_range": 0,
    "shear_range": 0,
    "zoom_range": (1, 1),
    "brightness_range": (1, 1),
}
EVERYTHING = AugmentConfig(
    rotation_range=20,
    width_shift_range=0.2,
    height_shift_range=0.1,
    shear_range=10,
    zoom_range=(0.7, 1.3),
    brightness_range=(0.5, 1.5),
    horizontal_flip=True,
    vertical_flip=True,
)


def config(**settings):
    return AugmentConfig(**{**OFF, **settings})


def images(count=8, side=16, seed=0):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def changes(count=1, **values):
    neutral = {"row_zoom": 1.0, "column_zoom": 1.0, "brightness": 1.0, "mirrored": False, "upended": False}
    given = {**{field.name: 0.0 for field in fields(Changes)}, **neutral, **values}
    return Changes(**{name: torch.as_tensor(value).expand(count) for name, value in given.items()})


def scipys(image_SS, matrix_23, fill_mode, cval=0.0):
    grey = cval / 127.5 - 1
    matrix_23 = matrix_23.double().numpy()
    return ndimage.affine_transform(
        image_SS.double().numpy(), matrix_23[:, :2], matrix_23[:, 2], order=1, mode=fill_mode, cval=grey
    )


def kerass_matrix(rotation, down, right, shear, row_zoom, column_zoom, side):
    """The product of 3 x 3 matrices that keras-preprocessing 1.1.2 documents, about the centre (side - 1) / 2."""
    turn, tilt, centre = np.deg2rad(rotation), np.deg2rad(shear), (side - 1) / 2
    to_centre = np.array([[1, 0, centre], [0, 1, centre], [0, 0, 1]])
    steps = [
        to_centre,
        np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]),
        np.array([[1, 0, down * side], [0, 1, right * side], [0, 0, 1]]),
        np.array([[1, -np.sin(tilt), 0], [0, np.cos(tilt), 0], [0, 0, 1]]),
        np.diag([row_zoom, column_zoom, 1]),
        np.linalg.inv(to_centre),
    ]
    return np.linalg.multi_dot(steps)[:2]


@pytest.mark.parametrize("fill_mode", FILLS)
@pytest.mark.parametrize("side", [2, 7, 32])
def test_random_matrices_move_images_as_scipy_moves_them(fill_mode, side):
    many = images(12, side)
    torch.manual_seed(1)
    wild = torch.randn(12, 2, 3) * torch.tensor([1.0, 1.0, side])
    moved = affine(many, wild, fill_mode, cval=200)
    for image, matrix, ours in zip(many, wild, moved, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), scipys(image[0], matrix, fill_mode, 200), atol=1e-4)


@pytest.mark.parametrize("fill_mode", FILLS)
def test_drawn_changes_move_images_as_scipy_moves_them(fill_mode):
    many = images(12, 33)
    torch.manual_seed(2)
    matrices = affine_matrices(draw_changes(12, EVERYTHING), 33)
    moved = affine(many, matrices, fill_mode, cval=30)
    for image, matrix, ours in zip(many, matrices, moved, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), scipys(image[0], matrix, fill_mode, 30), atol=1e-4)


@pytest.mark.parametrize("fill_mode", FILLS)
@pytest.mark.parametrize("steps", [-31, -15, -8, -1, 1, 3, 7, 8, 14, 40])
def test_whole_steps_far_beyond_the_edge_end_where_scipys_do(fill_mode, steps):
    image, matrix = images(1, 8), torch.tensor([[[1.0, 0.0, steps], [0.0, 1.0, -steps]]])
    ours = affine(image, matrix, fill_mode, cval=127.5)[0, 0].numpy()
    np.testing.assert_allclose(ours, scipys(image[0, 0], matrix[0], fill_mode, 127.5), atol=1e-5)


@pytest.mark.parametrize("values", [(17, 0.1, -0.2, 0, 1, 1), (0, 0, 0.3, 12, 1, 1), (-40, -0.1, 0.2, 9, 0.7, 1.3)])
def test_matrices_are_the_product_that_keras_documents(values):
    names = ("rotation", "row_shift", "column_shift", "shear", "row_zoom", "column_zoom")
    given = changes(**{name: float(value) for name, value in zip(names, values, strict=True)})
    np.testing.assert_allclose(affine_matrices(given, 64)[0].numpy(), kerass_matrix(*values, side=64), atol=1e-4)


def test_an_unknown_fill_mode_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'mirror'; there are nearest, constant, reflect, wrap"):
        affine(images(1), affine_matrices(changes(), 16), "mirror")


def test_nothing_asked_for_leaves_every_bit():
    assert torch.equal(conventional(images(), config()), images())


def test_ninety_degrees_are_a_quarter_turn_clockwise():
    turned = affine(images(1), affine_matrices(changes(rotation=90.0), 16))
    torch.testing.assert_close(turned, images(1).rot90(-1, (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("field", "dim"), [("row_shift", 2), ("column_shift", 3)])
def test_a_shift_moves_along_its_own_axis(field, dim):
    moved = affine(images(1), affine_matrices(changes(**{field: 0.25}), 16))
    expected = images(1).narrow(dim, 4, 12)
    torch.testing.assert_close(moved.narrow(dim, 0, 12), expected, atol=1e-4, rtol=0)


def test_width_shifts_sideways_and_height_shifts_upright():
    torch.manual_seed(0)
    sideways = draw_changes(50, config(width_shift_range=0.3))
    upright = draw_changes(50, config(height_shift_range=0.3))
    assert not sideways.row_shift.any() and sideways.column_shift.all()
    assert upright.row_shift.all() and not upright.column_shift.any()


def test_a_zoom_above_one_shows_the_image_smaller():
    disc = -torch.ones(1, 1, 16, 16)
    disc[:, :, 4:12, 4:12] = 1
    share = {
        zoom: float((affine(disc, affine_matrices(changes(row_zoom=zoom), 16)) > 0).float().mean())
        for zoom in (0.5, 1.0, 2.0)
    }
    assert share[0.5] > share[1.0] > share[2.0]


def test_shearing_keeps_the_middle_and_moves_columns_against_each_other():
    sheared = affine_matrices(changes(shear=20.0), 17)[0]
    torch.testing.assert_close(sheared @ torch.tensor([8.0, 8.0, 1.0]), torch.tensor([8.0, 8.0]))
    assert (sheared @ torch.tensor([8.0, 16.0, 1.0]))[0] < (sheared @ torch.tensor([8.0, 0.0, 1.0]))[0]


@pytest.mark.parametrize(("setting", "dim"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_others(setting, dim):
    torch.manual_seed(0)
    many = images(200, 8)
    flipped = conventional(many, config(**{setting: True}))
    mirrored = (flipped == many.flip(dim)).all(dim=(1, 2, 3))
    assert ((flipped == many).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_no_image_is_mirrored_unless_asked_for():
    torch.manual_seed(0)
    drawn = draw_changes(100, AugmentConfig())
    assert not drawn.mirrored.any() and not drawn.upended.any()


def test_brightness_multiplies_grey_values_from_black_and_stops_at_white():
    grey = torch.tensor([0.0, 100.0, 200.0])
    brighter = brighten((grey / 127.5 - 1).expand(1, 1, 1, 3), torch.tensor([1.5]))
    torch.testing.assert_close((brighter + 1) * 127.5, torch.tensor([0.0, 150.0, 255.0]).expand(1, 1, 1, 3))


def test_each_image_has_its_own_brightness_and_keeps_its_pattern():
    torch.manual_seed(0)
    dim = images(20) * 0.25 - 0.5
    ratio = (conventional(dim, config(brightness_range=(0.5, 1.5))) + 1) / (dim + 1)
    assert ratio.std(dim=(1, 2, 3)).max() < 1e-4
    assert ratio.mean(dim=(1, 2, 3)).std() > 0.1


@pytest.mark.parametrize("fill_mode", FILLS)
def test_every_setting_at_once_keeps_shape_and_range(fill_mode):
    torch.manual_seed(0)
    many = images(40).round()
    changed = conventional(many, EVERYTHING.model_copy(update={"fill_mode": fill_mode}))
    assert changed.shape == many.shape and changed.dtype == many.dtype
    assert changed.min() >= -1 and changed.max() <= 1


def test_drawn_changes_fill_their_ranges_evenly_and_stay_within():
    torch.manual_seed(0)
    drawn = draw_changes(4000, EVERYTHING)
    ranges = {
        "rotation": (-20, 20),
        "row_shift": (-0.1, 0.1),
        "column_shift": (-0.2, 0.2),
        "shear": (-10, 10),
        "row_zoom": (0.7, 1.3),
        "column_zoom": (0.7, 1.3),
        "brightness": (0.5, 1.5),
    }
    for name, (low, high) in ranges.items():
        share = (getattr(drawn, name) - low) / (high - low)
        assert share.min() >= -1e-6 and share.max() <= 1 + 1e-6
        np.testing.assert_allclose(np.quantile(share.numpy(), [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_the_two_zooms_are_drawn_apart():
    torch.manual_seed(0)
    drawn = draw_changes(2000, EVERYTHING)
    assert abs(torch.corrcoef(torch.stack([drawn.row_zoom, drawn.column_zoom]))[0, 1]) < 0.1


def test_a_setting_changes_its_own_effect_and_no_other():
    torch.manual_seed(0)
    before = draw_changes(10, AugmentConfig())
    torch.manual_seed(0)
    after = draw_changes(10, AugmentConfig(shear_range=5, horizontal_flip=True))
    assert torch.equal(before.rotation, after.rotation) and torch.equal(before.brightness, after.brightness)


@pytest.mark.parametrize("change", [lambda x: conventional(x, EVERYTHING), lambda x: diffaugment(x, list(POLICIES))])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(change):
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(change(images()))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize("fill_mode", FILLS)
def test_a_batch_is_moved_as_each_of_its_images_would_be_alone(fill_mode):
    torch.manual_seed(0)
    matrices = affine_matrices(draw_changes(8, EVERYTHING), 16)
    one_by_one = [affine(images()[i : i + 1], matrices[i : i + 1], fill_mode) for i in range(8)]
    torch.testing.assert_close(affine(images(), matrices, fill_mode), torch.cat(one_by_one), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_pass_through_diffaugment(name):
    torch.manual_seed(0)
    many = images(4, 8).double().requires_grad_()
    state = torch.get_rng_state()

    def same_draw(x):
        torch.set_rng_state(state)
        return diffaugment(x, [name])

    assert torch.autograd.gradcheck(same_draw, (many,))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_changes_images_but_not_their_shape(name):
    torch.manual_seed(0)
    changed = diffaugment(images(), [name])
    assert changed.shape == images().shape and not torch.equal(changed, images())


def test_no_policy_returns_the_images():
    assert torch.equal(diffaugment(images(), []), images())


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'colour'; it has color, translation, cutout"):
        diffaugment(images(), ["colour"])


def test_color_is_a_shift_and_a_contrast_about_the_mean():
    torch.manual_seed(0)
    many = images(500, 8)
    changed = diffaugment(many, ["color"])
    shift_N = (changed - many).mean(dim=(1, 2, 3))
    contrast_N = changed.std(dim=(1, 2, 3)) / many.std(dim=(1, 2, 3))
    expected = (many - many.mean(dim=(1, 2, 3), keepdim=True)) * contrast_N[:, None, None, None]
    torch.testing.assert_close(changed - changed.mean(dim=(1, 2, 3), keepdim=True), expected, atol=1e-5, rtol=0)
    assert -0.5 <= shift_N.min() < -0.45 and 0.45 < shift_N.max() <= 0.5
    assert 0.5 <= contrast_N.min() < 0.55 and 1.45 < contrast_N.max() <= 1.5


def test_translation_moves_by_whole_pixels_up_to_an_eighth_and_pads_with_mid_grey():
    torch.manual_seed(0)
    spot = torch.zeros(600, 1, 16, 16)
    spot[:, :, 8, 8] = 1
    moved = diffaugment(spot, ["translation"])
    place = moved.flatten(1).argmax(dim=1)
    assert sorted(set((place // 16).tolist())) == sorted(set((place % 16).tolist())) == [6, 7, 8, 9, 10]
    assert moved.sum() == 600
    assert set(diffaugment(torch.ones(50, 1, 16, 16), ["translation"]).unique().tolist()) == {0.0, 1.0}


def test_translation_moves_each_axis_by_itself():
    torch.manual_seed(0)
    spot = torch.zeros(600, 1, 16, 16)
    spot[:, :, 8, 8] = 1
    assert len(set(diffaugment(spot, ["translation"]).flatten(1).argmax(dim=1).tolist())) == 25


@pytest.mark.parametrize("side", [16, 15])
def test_cutout_hides_one_square_of_half_the_side_that_may_lie_partly_outside(side):
    torch.manual_seed(0)
    hidden = diffaugment(torch.ones(500, 1, side, side), ["cutout"])[:, 0] == 0
    rows, columns = hidden.any(dim=2).sum(dim=1), hidden.any(dim=1).sum(dim=1)
    assert torch.equal(hidden.sum(dim=(1, 2)), rows * columns)
    assert rows.max() == columns.max() == 8
    assert rows.min() == columns.min() == 4
