"""Exchange of regions between rows, pixel by pixel."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.images._sources import RowSource
from sklearn_shortcuts.metrics import region_swap_accuracy, swap_regions
from tests.metrics.readers import INSIDE, Reader, make_rows


def numbered(n=6, shape=(5, 6), **fields):
    """Images whose pixels tell the row and the place they came from."""
    places = np.arange(np.prod(shape)).reshape(shape)
    return ImageBunch(1000 * np.arange(n).reshape(-1, *[1] * len(shape)) + places, signal=len(shape) == 1, **fields)


@pytest.mark.parametrize("how", ["any", "other_class"])
@pytest.mark.parametrize(
    ("mask_role", "content"),
    [("avoid", "place"), ("attend", "place"), ("attend", "auto"), ("avoid", "auto"), ("attend", "exchange")],
)
def test_pixels_of_the_region_come_from_the_donor(how, mask_role, content):
    rng = np.random.default_rng(0)
    images, masks, y = rng.random((20, 5, 6)), rng.random((20, 5, 6)) < 0.4, np.arange(20) % 3
    before = images.copy()
    swapped = swap_regions(
        ImageBunch(images, masks=masks, target=y, note=y), how=how, mask_role=mask_role, content=content, random_state=1
    )
    result = np.asarray(swapped)
    for row, donor in enumerate(swapped.donor):
        assert donor != row
        assert how == "any" or y[donor] != y[row]
        regions = masks if mask_role == "avoid" else ~masks
        both = (mask_role, content) in (("avoid", "auto"), ("attend", "exchange"))
        region = regions[row] | regions[donor] if both else regions[row]
        np.testing.assert_array_equal(result[row][region], before[donor][region])
        np.testing.assert_array_equal(result[row][~region], before[row][~region])
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(swapped.masks, masks)
    assert swapped.fields == ("masks", "target", "note", "donor")


def test_rows_without_a_region_stay_and_are_no_donors():
    masks = list(np.ones((8, 5, 6), dtype=bool))
    masks[2], masks[5] = None, np.zeros((5, 6))
    bunch = numbered(8, masks=masks)
    swapped = swap_regions(bunch, how="any", content="place", random_state=0)
    assert (swapped.donor == -1).nonzero()[0].tolist() == [2, 5]
    assert not np.isin(swapped.donor, [2, 5]).any()
    np.testing.assert_array_equal(np.asarray(swapped)[[2, 5]], np.asarray(bunch)[[2, 5]])
    origin = np.asarray(swapped)[:, 0, 0] // 1000
    np.testing.assert_array_equal(origin, np.where(swapped.donor < 0, np.arange(8), swapped.donor))
    assert swapped.has_mask.tolist() == bunch.has_mask.tolist()


def test_rows_with_an_empty_mask_exchange_and_rows_without_a_mask_do_not():
    masks = list(np.zeros((40, 5, 6), dtype=bool))
    for row in range(0, 40, 2):
        masks[row][row % 5, row % 6] = True
    masks[7] = None
    bunch = numbered(40, masks=masks)
    swapped = swap_regions(bunch, how="any", random_state=0)
    assert (swapped.donor == -1).nonzero()[0].tolist() == [7]
    assert 7 not in swapped.donor
    assert np.isin(swapped.donor, np.arange(1, 40, 2)).any()
    images = np.asarray(bunch)
    for row, donor in enumerate(swapped.donor):
        region = np.zeros((5, 6), dtype=bool) if donor < 0 else masks[row] | masks[donor]
        np.testing.assert_array_equal(swapped[row], np.where(region, images[donor], images[row]))


@pytest.mark.parametrize(("shape", "spatial"), [((4, 7), (7,)), ((3, 5, 6), (5, 6)), ((5, 6), (5, 6))])
@pytest.mark.parametrize("content", ["exchange", "place", "region"])
def test_signals_and_channels(shape, spatial, content):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (10, *shape)).astype(np.uint8)
    masks = np.zeros((10, *spatial), dtype=bool)
    masks[..., 1:3] = True
    bunch = ImageBunch(images, masks=masks, signal=len(spatial) == 1)
    swapped = swap_regions(bunch, how="any", content=content, random_state=0)
    assert (swapped.dtype, swapped.shape, swapped.signal) == (np.uint8, bunch.shape, bunch.signal)
    result, expected = np.asarray(swapped), images.copy()
    expected[..., 1:3] = images[swapped.donor][..., 1:3]
    np.testing.assert_array_equal(result, expected)


def test_arrays_and_tables():
    rng = np.random.default_rng(0)
    table, y = rng.normal(size=(12, 5)), np.arange(12) % 2
    masks = np.tile([0, 1, 0, 0, 1], (12, 1))
    swapped = swap_regions(table, masks, labels=y, random_state=0)
    result = np.asarray(swapped)[:, 0]
    np.testing.assert_array_equal(result, np.where(masks, table[swapped.donor], table))


def test_markers_move_to_the_place_of_the_row():
    rng = np.random.default_rng(0)
    images, masks = rng.random((10, 12, 12)), np.zeros((10, 12, 12), dtype=bool)
    corners = rng.integers(0, 9, (10, 2))
    for mask, (top, left) in zip(masks, corners):
        mask[top : top + 4, left : left + 4] = True
    swapped = swap_regions(images, masks, how="any", content="region", random_state=0)
    for row, donor in enumerate(swapped.donor):
        marker = images[donor][masks[donor]]
        np.testing.assert_array_equal(swapped[row][masks[row]], marker)
        np.testing.assert_array_equal(swapped[row][~masks[row]], images[row][~masks[row]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_regions_of_other_shape_take_the_nearest_pixel_of_the_donor(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 7, 2))
    masks = rng.random((2, *shape)) < rng.uniform(0.1, 0.9)
    masks[:, rng.integers(shape[0]), rng.integers(shape[1])] = True
    swapped = swap_regions(numbered(2, shape, masks=masks), how="any", content="region", random_state=0)
    for row in range(2):
        own, other = np.argwhere(masks[row]), np.argwhere(masks[1 - row])
        low, high = own.min(axis=0), own.max(axis=0)
        other_low, other_high = other.min(axis=0), other.max(axis=0)
        for place in own:
            relative = [
                0.5 if a == b else (p - a) / (b - a) for p, a, b in zip(place.tolist(), low.tolist(), high.tolist())
            ]
            wanted = [a + int(np.rint(r * (b - a))) for r, a, b in zip(relative, other_low, other_high)]
            origin, number = divmod(int(swapped[row][tuple(place)]), 1000)
            assert origin == 1 - row
            taken = np.array(divmod(number, shape[1]))
            assert masks[1 - row][tuple(taken)]
            distances = ((other - wanted) ** 2).sum(axis=1)
            assert ((taken - wanted) ** 2).sum() == distances.min()
        np.testing.assert_array_equal(swapped[row][~masks[row]], np.asarray(numbered(2, shape))[row][~masks[row]])


def test_donors_are_uniform_over_all_rows_allowed():
    y, patients = np.array([0, 0, 0, 1, 1, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    bunch = numbered(8, masks=np.ones((8, 5, 6)), target=y, groups=patients)
    counts = np.zeros((8, 8))
    for seed in range(1500):
        counts[np.arange(8), swap_regions(bunch, random_state=seed).donor] += 1
    allowed = (y[:, None] != y) & (patients[:, None] != patients)
    assert (counts[~allowed] == 0).all()
    for row in range(8):
        assert chisquare(counts[row][allowed[row]]).pvalue > 1e-4


def test_the_only_donor_is_found_among_many_rows():
    y = np.zeros(3000)
    y[1234] = 1
    swapped = swap_regions(np.zeros((3000, 2, 2)), np.ones((3000, 2, 2)), labels=y, random_state=0)
    assert (swapped.donor[y == 0] == 1234).all()


def test_several_labels_differ_in_any():
    labels = pd.DataFrame({"a": [0, 0, 1, 1, 0], "b": [0, 1, 0, 1, 0]})
    donor = swap_regions(numbered(5, masks=np.ones((5, 5, 6)), target=labels), random_state=3).donor
    assert (labels.to_numpy() != labels.to_numpy()[donor]).any(axis=1).all()


def test_nothing_is_read_before_it_is_asked_for():
    class Counting(RowSource):
        shape, dtype = (30, 4, 4), np.dtype(float)
        read = 0

        def _read(self, rows):
            Counting.read += len(rows)
            return np.tile(rows[:, None, None], (1, 4, 4)).astype(float)

    swapped = swap_regions(ImageBunch(Counting(), masks=np.ones((30, 4, 4))), how="any", random_state=0)
    assert Counting.read == 0
    np.testing.assert_array_equal(np.asarray(swapped[[3, 4]])[:, 0, 0], swapped.donor[[3, 4]])
    assert Counting.read == 4  # two rows and their two donors


def test_rows_are_the_same_in_any_batch_and_after_pickling():
    bunch, _ = make_rows()
    swapped = swap_regions(bunch, content="region", random_state=0)
    whole = np.asarray(swapped)
    rows = np.array([5, 3, 50, 3])
    np.testing.assert_array_equal(np.asarray(swapped[rows]), whole[rows])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(swapped[rows]))), whole[rows])
    np.testing.assert_array_equal(swapped[7], whole[7])
    again = swap_regions(bunch, content="region", random_state=0)
    np.testing.assert_array_equal(np.asarray(again), whole)


def test_a_view_pickles_without_the_rest():
    bunch = ImageBunch(np.zeros((2000, 16, 16)), masks=np.ones((2000, 16, 16), dtype=bool))
    swapped = swap_regions(bunch, how="any", random_state=0)
    assert len(pickle.dumps(swapped[:10])) < 200_000  # of four megabytes


def test_random_state_none_differs_from_call_to_call():
    bunch, _ = make_rows(n=200)
    assert (swap_regions(bunch).donor != swap_regions(bunch).donor).any()


def test_soft_masks_are_inside_from_one_half():
    masks = np.zeros((2, 1, 3))
    masks[:] = [0.49, 0.5, 1.0]
    result = np.asarray(swap_regions(np.array([[[1, 1, 1]], [[2, 2, 2]]]), masks, how="any", random_state=0))
    np.testing.assert_array_equal(result, [[[1, 2, 2]], [[2, 1, 1]]])


def test_bad_input():
    bunch, y = make_rows(n=6)
    with pytest.raises(ValueError, match="there are no masks"):
        swap_regions(bunch.with_fields(masks=None))
    with pytest.raises(ValueError, match="no row has a region"):
        swap_regions(bunch.with_fields(masks=np.zeros((6, 8, 8))))
    with pytest.raises(ValueError, match="needs to know the classes"):
        swap_regions(bunch.with_fields(target=None))
    with pytest.raises(ValueError, match=r'row 0 has no other row of another class .* give how="any"'):
        swap_regions(bunch, labels=np.zeros(6))
    with pytest.raises(ValueError, match=r"row 0 has no other row of another patient .* give more rows"):
        swap_regions(bunch, how="any", groups=np.zeros(6))
    with pytest.raises(ValueError, match="labels has 3 rows, but there are 6 images"):
        swap_regions(bunch, labels=y[:3])
    with pytest.raises(ValueError, match="row 2 has no label"):
        swap_regions(bunch, labels=["a", "b", None, "a", "b", "a"])
    with pytest.raises(ValueError, match="X must have 2 to 4 axes"):
        swap_regions(np.zeros(5), np.zeros(5))
    with pytest.raises(ValueError, match="The 'how' parameter of swap_regions"):
        swap_regions(bunch, how="same_class")


def test_labels_in_a_table_of_any_types():
    bunch, y = make_rows(n=8)
    table = pd.DataFrame({"ill": y.astype(bool), "view": np.where(y, "AP", "PA"), "marked": 1})
    donors = swap_regions(bunch, labels=table, random_state=0).donor
    assert (y[donors] != y).all()


def test_patients_may_have_names_of_several_types():
    bunch, y = make_rows(n=4)
    score = region_swap_accuracy(Reader(INSIDE), bunch, y, groups=np.array([1, "x", 2.5, 1], object), random_state=0)
    assert score.n_groups == 3
