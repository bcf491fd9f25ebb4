"""Masks that stay on their images."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sklearn_shortcuts.images import ImageBunch, ImageFiles, MaskFiles, masks_to_polygons, rle_encode
from sklearn_shortcuts.images._resize import place

SHAPES = [(30, 20), (21, 40), (25, 25)]


def discs(shapes=SHAPES):
    for height, width in shapes:
        rows, columns = np.mgrid[:height, :width]
        yield (rows - height * 0.4) ** 2 + (columns - width * 0.55) ** 2 < (min(height, width) * 0.3) ** 2


def write_discs(folder, suffix=""):
    names = []
    for row, disc in enumerate(discs()):
        names.append(f"disc{suffix}{row}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / names[-1])
    return names


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("kind", ["path", "rle", "polygon"])
def test_every_kind_lies_where_its_image_lies(tmp_path, kind, resize):
    names = write_discs(tmp_path)
    images = ImageFiles(names, root=tmp_path, size=(24, 28), resize=resize)
    sources = {
        "path": names,
        "rle": [rle_encode(disc, "siim") for disc in discs()],
        "polygon": [masks_to_polygons(disc[None])[0] for disc in discs()],
    }[kind]
    options = {"dialect": "siim"} if kind == "rle" else {}
    masks = MaskFiles(sources, (24, 28), kind=kind, root=tmp_path, original_shapes=images, resize=resize, **options)
    assert (masks.shape, masks.dtype) == ((3, 24, 28), bool)
    bunch = ImageBunch(images, masks=masks)
    bright, inside = np.asarray(bunch) > 0.5, np.asarray(bunch.masks)
    for row in range(3):
        assert (bright[row] & inside[row]).sum() / (bright[row] | inside[row]).sum() > 0.85
        exact = place(SHAPES[row], (24, 28), resize).resize(list(discs())[row], nearest=True)
        np.testing.assert_array_equal(inside[row], exact)


def test_a_smaller_mask_file_is_brought_to_its_image(tmp_path):
    names = write_discs(tmp_path)
    for row, name in enumerate(names):
        image = Image.open(tmp_path / name)
        image.resize((image.width * 2, image.height * 2)).save(tmp_path / f"large{row}.png")
    images = ImageFiles([f"large{row}.png" for row in range(3)], root=tmp_path, size=32)
    masks = MaskFiles(names, 32, root=tmp_path, original_shapes=images)
    overlap = (np.asarray(images) > 0.5) & np.asarray(masks)
    assert overlap.sum() > 0.85 * np.asarray(masks).sum()


def test_masks_of_other_proportions_are_refused(tmp_path):
    names = write_discs(tmp_path)
    masks = MaskFiles(names, 32, root=tmp_path, original_shapes=(60, 40))
    assert masks[[0]].any()
    with pytest.raises(ValueError, match=r"row 1: .*disc1.png has 21 x 40 pixels, other proportions than its image"):
        masks[:]
    assert MaskFiles(names, 32, root=tmp_path, original_shapes=(60, 40), resize="stretch")[:].any(axis=(1, 2)).all()


@settings(max_examples=50, deadline=None)
@given(height=st.integers(8, 3000), width=st.integers(8, 3000), longest=st.integers(8, 512))
def test_a_rounded_copy_has_the_same_proportions(height, width, longest):
    from sklearn_shortcuts.images._mask_files import _same_proportions

    scale = longest / max(height, width)
    small = tuple(max(1, round(side * scale)) for side in (height, width))
    assert _same_proportions(small, (height, width))
    assert _same_proportions((height, width), (height, width))
    if min(height, width) > 40:
        assert not _same_proportions((height, width + width // 3), (height, width))


def test_threshold(tmp_path):
    values = np.array([[0, 127], [200, 255]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "mask.png")
    for threshold, expected in ((None, values > 0), (200, values >= 200), (201, values >= 201)):
        masks = MaskFiles(["mask.png"], (2, 2), root=tmp_path, threshold=threshold)
        np.testing.assert_array_equal(masks[0], expected)


@pytest.mark.parametrize("absent", [None, float("nan"), "", " ", []])
def test_missing_files(tmp_path, absent):
    names = write_discs(tmp_path)
    masks = MaskFiles([names[0], absent, names[2]], 16, root=tmp_path)
    np.testing.assert_array_equal(masks.has_mask, [True, False, True])
    assert masks[:].any(axis=(1, 2)).tolist() == [True, False, True]
    bunch = ImageBunch(np.zeros((3, 16, 16)), masks=masks)
    assert bunch[[1, 2]].has_mask.tolist() == [False, True]
    assert pickle.loads(pickle.dumps(bunch[[1, 2]])).has_mask.tolist() == [False, True]
    assert MaskFiles([names[0], absent], 16, root=tmp_path, missing="empty").has_mask.all()


@pytest.mark.parametrize(
    ("kind", "sources", "has_mask", "n_inside"),
    [
        ("box", [(0, 0, 1, 1), [], None, [(0, 0, 0, 0), (3, 3, 3, 3)]], [1, 1, 0, 1], [4, 0, 0, 2]),
        ("box", ["[0, 0, 1, 1]", "[]", "", "[[0, 0, 0, 0], [3, 3, 3, 3]]"], [1, 1, 0, 1], [4, 0, 0, 2]),
        ("box", [(0, 0, 1, 1), (np.nan,) * 4], [1, 0], [4, 0]),
        ("polygon", [[[(0, 0), (2, 0), (2, 2), (0, 2)]], [], None], [1, 1, 0], [4, 0, 0]),
        ("polygon", ["[[[0, 0], [2, 0], [2, 2], [0, 2]]]", np.nan], [1, 0], [4, 0]),
        ("rle", ["1 2 5 2", "", ("1 1", np.nan), (None, np.nan)], [1, 0, 1, 0], [4, 0, 1, 0]),
    ],
)
def test_what_counts_as_missing(kind, sources, has_mask, n_inside):
    masks = MaskFiles(sources, 4, kind=kind, dialect="kaggle")
    np.testing.assert_array_equal(masks.has_mask, np.array(has_mask, bool))
    np.testing.assert_array_equal(masks[:].sum(axis=(1, 2)), n_inside)
    rows = np.arange(len(sources))[::-1]
    np.testing.assert_array_equal(masks.take(rows)[:], masks[:][::-1])
    np.testing.assert_array_equal(masks[[0, 0]].sum(axis=(1, 2)), [n_inside[0]] * 2)


def test_siim_says_that_nothing_is_there():
    masks = MaskFiles(["-1", None], 4, kind="rle", dialect="siim")
    assert masks.has_mask.tolist() == [True, False]
    assert not masks[:].any()


def test_several_files_are_united(tmp_path):
    left, right = np.zeros((2, 10, 10), np.uint8)
    left[2:4, 1:3] = right[5:8, 6:9] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    Image.fromarray(right).save(tmp_path / "right.png")
    masks = MaskFiles([["left.png", "right.png"], ["left.png", None]], 10, root=tmp_path)
    np.testing.assert_array_equal(masks[:], np.stack([(left | right) > 0, left > 0]))


def test_box_formats():
    corners = MaskFiles([(1, 2, 3, 5)], 8, kind="box")
    widths = MaskFiles([(2, 1, 4, 3)], 8, kind="box", box_format="xywh")
    np.testing.assert_array_equal(corners[:], widths[:])


@pytest.mark.parametrize(
    ("sources", "options", "match"),
    [
        (["1 2"], {"kind": "runs"}, "kind must be one of"),
        (["1 2"], {"kind": "rle"}, "run lengths need dialect="),
        (["a.png"], {"resize": "squash"}, "resize must be one of"),
        (["a.png"], {"missing": "drop"}, "missing must be one of"),
        (["a.png"], {"original_shapes": [(3, 3), (4, 4)]}, r"one such pair for each of the 1 rows"),
        (["a.png"], {"original_shapes": (3.5, 3)}, "original_shapes must be"),
        (["a.png"], {"threshold": "high"}, "threshold must be a number"),
        (["1 2"], {"kind": "rle", "dialect": "pascal"}, "dialect must be one of"),
        ([(0, 0, 1, 1)], {"kind": "box", "box_format": "yolo"}, "box_format must be one of"),
    ],
)
def test_options_that_cannot_be(sources, options, match):
    with pytest.raises(ValueError, match=match):
        MaskFiles(sources, 4, **options)


@pytest.mark.parametrize(
    ("kind", "bad"), [("rle", "1 99"), ("box", (0, 0, 9, 9)), ("polygon", [[(0, 0), (9, 0), (9, 9)]]), ("box", "[1,")]
)
def test_a_bad_entry_names_its_row(kind, bad):
    masks = MaskFiles([None, None, bad], 4, kind=kind, dialect="kaggle")
    assert not masks[:2].any()
    with pytest.raises(ValueError, match="row 2: ") as caught:
        masks[:]
    assert "row 0" not in str(caught.value)


@pytest.mark.parametrize("kind", ["path", "box"])
def test_the_mask_of_a_blank_image_is_blank(tmp_path, kind):
    names = write_discs(tmp_path)
    images = ImageFiles([*names[:2], "nowhere.png"], root=tmp_path, size=16, on_error="warn")
    sources = names if kind == "path" else [(0, 0, 5, 5)] * 3
    masks = MaskFiles(sources, 16, kind=kind, root=tmp_path, original_shapes=images)
    assert masks[:].any(axis=(1, 2)).tolist() == [True, True, False]
    strict = ImageFiles([*names[:2], "nowhere.png"], root=tmp_path, size=16)
    with pytest.raises(FileNotFoundError, match=r"row 2: .*nowhere\.png: there is no such file"):
        MaskFiles(sources, 16, kind=kind, root=tmp_path, original_shapes=strict)[:]


def test_key_changes_with_content(tmp_path):
    names = write_discs(tmp_path)
    images = ImageFiles(names, root=tmp_path, size=16)

    def key(**options):
        masks = MaskFiles(options.pop("sources", names), 16, **{"root": tmp_path, **options})
        return "".join(masks.cache_key([0, 1]))

    assert key() == key()
    kinds = [key(), key(threshold=3), key(resize="stretch"), key(sources=names[::-1]), key(original_shapes=images)]
    kinds += [key(original_shapes=(30, 30)), key(original_shapes=(31, 30))]
    boxes = np.zeros((3, 2000, 4), int)
    more = boxes.copy()
    more[1, 1000] = 1  # in the part that is left out when an array is printed
    kinds += [key(sources=list(boxes), kind="box"), key(sources=list(more), kind="box")]
    assert len(set(kinds)) == len(kinds)
