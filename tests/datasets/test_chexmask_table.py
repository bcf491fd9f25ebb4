"""Lung masks from CheXmask tables."""

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets._chexmask_table import chexmask_masks
from sklearn_shortcuts.images import rle_encode

ORGANS = {"Right Lung": 44, "Left Lung": 50, "Heart": 26}


def lungs(shape, seed=0):
    """Draw two upright ellipses, as lungs."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    organs = {}
    for name, center in zip(ORGANS, (0.27, 0.72, 0.5)):
        size = 0.32 + 0.05 * rng.random()
        ellipse = ((y / height - 0.5) / size) ** 2 + ((x / width - center) / 0.17) ** 2
        organs[name] = ellipse <= 1
    return organs


def landmarks(organs):
    """Put the landmarks of every organ on pixels of its mask, those of its bounding box among them."""
    points = []
    for name, count in ORGANS.items():
        rows, columns = np.nonzero(organs[name])
        pick = [rows.argmin(), rows.argmax(), columns.argmin(), columns.argmax()]
        pick += list(np.linspace(0, len(rows) - 1, count - len(pick)).astype(int))
        points.append(np.column_stack([columns[pick], rows[pick]]))
    return np.concatenate(points)


def chexmask_row(name, shape, *, dice=0.9, column="ImageID", swapped=False, numpy_print=False, seed=0):
    """Make one row of a table, and the lungs it encodes."""
    organs = lungs(shape, seed)
    points = landmarks(organs)
    text = str(points.ravel()).replace("\n", "") if numpy_print else ",".join(map(str, points.ravel()))
    height, width = shape[::-1] if swapped else shape
    row = {
        column: name,
        "Dice RCA (Max)": dice + 0.05,
        "Dice RCA (Mean)": dice,
        "Landmarks": text,
        **{organ: rle_encode(mask, "chexmask") for organ, mask in organs.items()},
        "Height": height,
        "Width": width,
    }
    return row, organs["Left Lung"] | organs["Right Lung"]


def write(path, rows):
    with np.printoptions(threshold=10**6):
        pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_lungs_by_name(tmp_path, suffix):
    with np.printoptions(threshold=10**6):
        first, mask_a = chexmask_row("a.png", (90, 70), numpy_print=True)
        second, mask_b = chexmask_row("b.png", (60, 80), seed=1)
        third, _ = chexmask_row("c.png", (60, 80), dice=0.69)
    path = write(tmp_path / f"table{suffix}", [second, third, first, chexmask_row("other.png", (50, 50))[0]])
    masks = chexmask_masks(path, ["a.png", "c.png", "b.png"], (90, 70), 0.7, "stretch")
    assert masks.has_mask.tolist() == [True, False, True]
    np.testing.assert_array_equal(masks[0], mask_a)
    assert not masks[1].any()
    np.testing.assert_array_equal(chexmask_masks(path, ["b.png"], (60, 80), 0.7, "letterbox")[0], mask_b)


def test_exchanged_height_and_width_are_put_right(tmp_path):
    row, mask = chexmask_row("a.png", (90, 70), swapped=True)
    masks = chexmask_masks(write(tmp_path / "t.csv", [row]), ["a.png"], (90, 70), 0.7, "stretch")
    np.testing.assert_array_equal(masks[0], mask)


def test_masks_that_contradict_their_landmarks_are_counted(tmp_path):
    good, _ = chexmask_row("a.png", (90, 70))
    moved, _ = chexmask_row("b.png", (90, 70))
    moved["Left Lung"] = rle_encode(np.roll(lungs((90, 70))["Left Lung"], 5, axis=0), "chexmask")
    blank, _ = chexmask_row("c.png", (90, 70))
    blank["Right Lung"] = None
    torn, _ = chexmask_row("d.png", (90, 70))
    torn["Landmarks"] = torn["Landmarks"][:50]
    path = write(tmp_path / "t.csv", [good, moved, blank, torn])
    with pytest.warns(UserWarning, match="1 of 5 images are not in the CheXmask table and 3 of its masks contradict"):
        masks = chexmask_masks(path, list("abcde"), (9, 7), 0.7, "stretch", key=lambda name: name.removesuffix(".png"))
    assert masks.has_mask.tolist() == [True, False, False, False, False]


def test_preprocessed_tables_fit_square_images_only(tmp_path):
    row, _ = chexmask_row("a.png", (1024, 1024))
    row["Height"] = row["Width"] = None
    path = write(tmp_path / "t.csv", [row])
    with pytest.raises(ValueError, match=r"preprocessed images of 1024 x 1024.*OriginalResolution"):
        chexmask_masks(path, ["a.png"], (8, 8), 0.7, "letterbox")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chexmask_masks(path, ["a.png"], (8, 8), 0.7, "letterbox", native=(1024, 1024))[0].any()


def test_tables_that_are_none(tmp_path):
    row, _ = chexmask_row("a.png", (90, 70))
    with pytest.raises(ValueError, match=r"is no CheXmask table: it lacks \['Landmarks'\]"):
        chexmask_masks(
            write(tmp_path / "a.csv", [{k: v for k, v in row.items() if k != "Landmarks"}]), [], (8, 8), 0.7, "crop"
        )
    with pytest.raises(ValueError, match=r"several rows for 'a\.png'"):
        chexmask_masks(write(tmp_path / "b.csv", [row, row]), ["a.png"], (8, 8), 0.7, "crop")
    with pytest.raises(ValueError, match=r"min_dice must lie in \[0, 1\]"):
        chexmask_masks(tmp_path / "b.csv", ["a.png"], (8, 8), 70, "crop")
