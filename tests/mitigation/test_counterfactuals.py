"""The table of a fit, against the public scores and by hand."""

import numpy as np
import pytest

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.metrics import flip_rate, region_swap_accuracy
from sklearn_shortcuts.mitigation._annotations import gather_annotations
from sklearn_shortcuts.mitigation._counterfactuals import NoiseFill, counterfactual_table

from .decoys import decoys


class ByPatch:
    """Goes by the patch alone."""

    classes_ = np.array([0, 1])

    def predict(self, X):
        return (np.asarray(X)[:, :3, :3].mean((1, 2)) > 0).astype(int)


class ByTruth:
    """Knows the classes of rows by their number, which a pixel tells."""

    classes_ = np.array([0, 1])

    def predict(self, X):
        return np.asarray(X)[:, -1, -1].astype(int) % 2


def table_of(bunch, models=None, mask_role="avoid", used=None, **options):
    options = {"masks": None, "class_masks": None, "mask_field": "masks", "needed_by": None, **options}
    annotations = gather_annotations(bunch, **options)
    used = np.arange(len(bunch)) if used is None else used
    return counterfactual_table(models or {"model": ByPatch()}, annotations, bunch.target, mask_role, used).iloc[0]


def numbered(bunch):
    images = np.asarray(bunch).copy()
    images[:, -1, -1] = np.arange(len(images))
    return bunch.with_images(images)


def test_models_that_go_by_the_region_and_that_do_not():
    bunch = numbered(decoys(60))
    by_patch, by_truth = table_of(bunch), table_of(bunch, {"model": ByTruth()})
    assert by_patch.to_dict() == {
        "accuracy": 1.0,
        "region_swap_accuracy": 0.0,
        "flip_rate": 1.0,
        "noise_fill_accuracy": pytest.approx(0.5, abs=0.2),
        "n_rows": 60,
    }
    assert by_truth.to_dict() == {
        "accuracy": 1.0,
        "region_swap_accuracy": 1.0,
        "flip_rate": 0.0,
        "noise_fill_accuracy": 1.0,
        "n_rows": 60,
    }


def test_agrees_with_the_public_scores():
    told = np.random.default_rng(0).integers(0, 2, 60)
    bunch = decoys(60, told=told)
    table = table_of(bunch)
    options = {"how": "other_class", "n_draws": 50, "random_state": 0}
    swapped = region_swap_accuracy(ByPatch(), bunch, **options)
    assert table["accuracy"] == swapped.original
    assert table["region_swap_accuracy"] == pytest.approx(swapped.value, abs=0.15)
    assert table["flip_rate"] == pytest.approx(flip_rate(ByPatch(), bunch, **options).value, abs=0.15)


def test_around_a_right_region_everything_is_exchanged():
    bunch = decoys(40)
    inverted = bunch.with_fields(masks=~bunch.masks)
    assert table_of(inverted, mask_role="attend").to_dict()["flip_rate"] == 1.0
    assert table_of(bunch, mask_role="attend")["flip_rate"] == 0.0


def test_only_rows_with_a_mask_that_were_trained_on():
    bunch = decoys(40, masked=range(10, 40))
    assert table_of(bunch, used=np.arange(20))["n_rows"] == 10


def test_many_rows_are_sampled():
    assert table_of(decoys(600))["n_rows"] == 500


class CountMarks:
    """Goes by whether there is a mark, and notes how many rows show one."""

    classes_ = np.array([0, 1])

    def __init__(self):
        self.counts = []

    def predict(self, X):
        shown = np.asarray(X)[:, :3, :3].max((1, 2)) > 5
        self.counts.append(int(shown.sum()))
        return shown.astype(int)


@pytest.mark.parametrize(("n_marked", "n_free", "expected"), [(40, 30, 40), (20, 700, 20), (700, 20, 480)])
def test_a_mark_is_exchanged_with_its_absence(n_marked, n_free, expected):
    y = np.repeat([1, 0], [n_marked, n_free])
    images = np.random.default_rng(0).normal(size=(len(y), 12, 12))
    masks = np.zeros(images.shape, dtype=bool)
    masks[:n_marked, :3, :3] = True
    images[masks] = 9
    model = CountMarks()
    table = table_of(ImageBunch(images, masks=masks, target=y), {"model": model})
    assert table["n_rows"] == min(500, len(y))
    assert (table["accuracy"], table["region_swap_accuracy"], table["flip_rate"]) == (1, 0, 1)
    assert model.counts[0] == expected


def test_where_everything_is_right_there_is_nothing_to_exchange():
    bunch = decoys(16)
    bunch = bunch.with_fields(masks=np.ones_like(bunch.masks))
    annotations = gather_annotations(bunch, masks=None, class_masks=None, mask_field="masks", needed_by=None)
    assert counterfactual_table({"model": ByPatch()}, annotations, bunch.target, "attend", np.arange(16)) is None


def test_around_a_right_region_empty_masks_are_left_out():
    bunch = decoys(40)
    masks = ~bunch.masks
    masks[:5] = False
    assert table_of(bunch.with_fields(masks=masks), mask_role="attend")["n_rows"] == 35


def test_of_one_class_regions_are_exchanged_all_the_same():
    one = table_of(decoys(40)[::2])
    assert one["region_swap_accuracy"] == 1.0
    alone = table_of(decoys(40, masked=[3]))
    assert np.isnan(alone["flip_rate"])
    assert alone["accuracy"] == 1.0


def test_of_masks_per_class_that_of_the_own_class_counts():
    bunch = decoys(40)
    nothing = np.zeros_like(bunch.masks)
    nothing[:, -1, :2] = True
    of_zero, of_one = np.stack([bunch.masks, nothing], axis=1), np.stack([nothing, bunch.masks], axis=1)
    own = np.where((bunch.target == 0)[:, None, None, None], of_zero, of_one)
    plain = bunch.with_fields(masks=None)
    assert table_of(plain, class_masks=own)["flip_rate"] == 1.0
    assert table_of(plain, class_masks=own[:, ::-1])["flip_rate"] == 0.0


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(5, 40, 40), (5, 3, 40, 40), (5, 2, 1600)])
def test_noise_has_the_range_of_its_channel(shape, dtype):
    signal = shape[-1] == 1600
    images = np.random.default_rng(0).integers(20, 200, shape).astype(dtype)
    masks = np.zeros((5, *shape[-1:]) if signal else (5, 40, 40), dtype=bool)
    masks[:, 4:36] = True
    filled = NoiseFill(1 if signal else 2, "avoid", 0)(images, masks, rows=np.arange(5))
    assert filled.dtype == images.dtype
    inside = np.broadcast_to(masks if len(shape) == masks.ndim else masks[:, None], shape)
    np.testing.assert_array_equal(filled[~inside], images[~inside])
    assert filled.min() >= 20
    assert filled.max() <= 199
    share = (filled[inside].astype(float) - 20) / 179
    assert share.mean() == pytest.approx(0.5, abs=0.05)
    again = NoiseFill(1 if signal else 2, "avoid", 0)(images[3:4], masks[3:4], rows=np.array([3]))
    np.testing.assert_array_equal(again, filled[3:4])  # in whatever batch it is read


def test_masks_on_disk_and_in_memory_say_the_same(tmp_path):
    bunch = decoys(20)
    np.save(tmp_path / "masks.npy", bunch.masks)
    lazy = ImageBunch(np.asarray(bunch), masks=np.load(tmp_path / "masks.npy", mmap_mode="r"), target=bunch.target)
    assert table_of(lazy).equals(table_of(bunch))
