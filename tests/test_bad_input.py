"""Odd and bad input from rows to classifier and audit: it is read right, or refused with row, reason and remedy."""

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, RegionSensitivity, ROIMasker
from sklearn_shortcuts.datasets import load_study
from sklearn_shortcuts.images import ImageFiles, ImageLoader, MaskFiles, bunch_from_frame, cache_bunch
from sklearn_shortcuts.neural import SmallCNN

N = 24
LABELS = np.arange(N) % 2


def flatten(X):
    return np.asarray(X).reshape(len(X), -1).astype(float)


def linear():
    return make_pipeline(FunctionTransformer(flatten), StandardScaler(), LogisticRegression(max_iter=500))


def masked():
    return make_pipeline(ROIMasker(), linear())


def network():
    return make_pipeline(ROIMasker(), NeuralImageClassifier(SmallCNN(width=2), max_epochs=1, random_state=0))


def audit():
    return RegionSensitivity(linear(), cv=2, controls=(), random_state=0)


CONSUMERS = {"pipeline": masked, "network": network, "audit": audit}


def make_images(n=N, shape=(9, 7)):
    rng = np.random.default_rng(0)
    images = rng.uniform(20, 200, (n, *shape))
    images[:, ..., 3:5, 2:4] += 40 * (np.arange(n) % 2).reshape(-1, *[1] * len(shape))
    masks = np.zeros((n, *shape[-2:]), dtype=bool)
    masks[:, 2:7, 1:5] = True
    return images, masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study on disk that is in order: PNG files, masks and a table."""
    folder = tmp_path_factory.mktemp("study")
    images, masks = make_images()
    rows = []
    for row in range(N):
        Image.fromarray(images[row].astype(np.uint8)).save(folder / f"image{row}.png")
        Image.fromarray((masks[row] * 255).astype(np.uint8)).save(folder / f"mask{row}.png")
        rows.append({"image": f"image{row}.png", "mask": f"mask{row}.png", "label": row % 2, "patient_id": f"p{row}"})
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.fixture
def table(folder):
    return pd.read_csv(folder / "metadata.csv")


def read(table, folder, **options):
    return bunch_from_frame(table, masks="mask", target="label", groups="patient_id", root=folder, **options)


# -- odd, but right ----------------------------------------------------------------------------------------------------
def as_fortran(array):
    return np.asfortranarray(array)


def as_read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def as_big_endian(array):
    return array.astype(array.dtype.newbyteorder(">"))


def with_gaps(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


ODD = [as_fortran, as_read_only, as_big_endian, with_gaps, list, np.asarray]
MASK_TYPES = {
    "bool": lambda masks: masks,
    "0 and 1": lambda masks: masks.astype(np.uint8),
    "0 and 255": lambda masks: masks.astype(np.uint8) * 255,
    "whole numbers": lambda masks: masks.astype(np.int64) * 3,
    "floats": lambda masks: masks.astype(np.float64),
    "probabilities": lambda masks: np.where(masks, 0.8, 0.3).astype(np.float32),
    "with a channel": lambda masks: masks[:, None],
    "objects": lambda masks: pd.Series(list(masks), dtype=object),
}


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(9, 7), (1, 9, 7), (3, 9, 7), (2, 8, 6)]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64]),
    image_form=st.sampled_from(ODD),
    mask_form=st.sampled_from(ODD),
    mask_type=st.sampled_from(sorted(MASK_TYPES)),
    rows=st.lists(st.integers(0, 7), min_size=1, max_size=10),
)
def test_every_form_of_the_same_rows_is_masked_alike(shape, dtype, image_form, mask_form, mask_type, rows):
    images, masks = make_images(8, shape)
    images = images.astype(dtype)
    given_images, given_masks = image_form(images), MASK_TYPES[mask_type](masks)
    if mask_type != "objects":
        given_masks = mask_form(given_masks)
    before = np.array(given_images), np.array(masks)
    bunch = ImageBunch(given_images, masks=given_masks)
    expected = np.where(masks if len(shape) == 2 else masks[:, None], images, 0)[rows]
    result = ROIMasker().fit(bunch).transform(bunch)[rows]
    np.testing.assert_array_equal(np.asarray(result), expected)
    inside = np.asarray(result.masks)
    assert inside.dtype == bool or inside.max() <= 1
    np.testing.assert_array_equal(inside >= 0.5, masks[rows])
    np.testing.assert_array_equal(np.array(given_images), before[0])
    np.testing.assert_array_equal(masks, before[1])


@pytest.mark.parametrize("mask_type", sorted(MASK_TYPES))
def test_an_audit_does_not_depend_on_how_masks_are_written(mask_type):
    images, masks = make_images()
    verdicts = [
        audit().fit(ImageBunch(images, masks=given), LABELS).cells_["auc"].tolist()
        for given in (masks, MASK_TYPES[mask_type](masks))
    ]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("kind", [object, "string", "str", "category"])
def test_a_table_of_any_type_of_text_with_missing_masks(folder, table, kind):
    table = table.astype({"image": kind, "mask": kind, "patient_id": kind})
    table.loc[[3, 8], "mask"] = pd.NA if kind == "string" else None
    table.index = [0] * N
    bunch = read(table, folder)
    assert np.flatnonzero(~bunch.has_mask).tolist() == [3, 8]
    with pytest.raises(ValueError, match=r"row 3 has no region: its mask is missing or empty \(as in 1 more\); leave"):
        masked().fit(bunch, bunch.target)
    kept = bunch[bunch.has_mask]
    assert masked().fit(kept, kept.target).predict(kept).shape == (N - 2,)


# -- wrong, and refused ------------------------------------------------------------------------------------------------
def spoil_image(value):
    def spoil(images, masks, row):
        images[row, 4, 3] = value
        return ImageBunch(images, masks=masks)

    return spoil


def empty_mask(images, masks, row):
    masks[row] = False
    return ImageBunch(images, masks=masks)


def missing_mask(images, masks, row):
    return ImageBunch(images, masks=[None if other == row else mask for other, mask in enumerate(masks)])


def smaller_mask(images, masks, row):
    return ImageBunch(images, masks=[mask[:-1] if other == row else mask for other, mask in enumerate(masks)])


def partly_nan_mask(images, masks, row):
    masks = masks.astype(float)
    masks[row, 0, 0] = np.nan
    return ImageBunch(images, masks=masks)


def logits_as_mask(images, masks, row):
    masks = masks.astype(float)
    masks[row] = masks[row] * 6 - 3
    return ImageBunch(images, masks=masks)


def smaller_image(images, masks, row):
    return ImageBunch([image[1:] if other == row else image for other, image in enumerate(images)], masks=masks)


def missing_patient(images, masks, row):
    groups = [f"p{other}" for other in range(len(images))]
    groups[row] = None
    return ImageBunch(images, masks=masks, groups=groups)


def negative_weight(images, masks, row):
    weights = np.ones(len(images))
    weights[row] = -1
    return ImageBunch(images, masks=masks, sample_weight=weights)


SPOILERS = {
    "NaN": (spoil_image(np.nan), "row {row} contains NaN or inf; repair it or leave the row out"),
    "infinity": (spoil_image(-np.inf), "row {row} contains NaN or inf; repair it or leave the row out"),
    "empty mask": (empty_mask, "row {row} has no region: its mask is missing or empty; leave such rows out"),
    "missing mask": (missing_mask, "row {row} has no region: its mask is missing or empty; leave such rows out"),
    "smaller mask": (smaller_mask, r"masks: the mask of row {row} has shape \(8, 7\), but its image .*; resize"),
    "NaN in a mask": (partly_nan_mask, "masks: the mask of row {row} contains NaN; a row without a mask is None"),
    "logits": (logits_as_mask, "masks: the mask of row {row} has values from -3 to 3, .*; give masks > 0"),
    "smaller image": (smaller_image, r"images: row {row} has shape \(8, 7\), but row 0 .*; resize them"),
    "patient": (missing_patient, "groups: 1 rows have no patient, the first is row {row}; .*drop the rows"),
    "weight": (negative_weight, "sample_weight: row {row} has -1, but weights are finite"),
}


@pytest.mark.parametrize("problem", sorted(SPOILERS))
@settings(max_examples=4, deadline=None)
@given(row=st.integers(1, N - 1))
def test_one_bad_row_is_named_with_what_to_do_and_the_others_are_good(problem, row):
    spoil, message = SPOILERS[problem]
    with pytest.raises(ValueError, match=message.replace("{row}", str(row))):
        masked().fit(spoil(*make_images(), row), LABELS)
    good = np.delete(np.arange(N), row)
    images, masks = make_images()
    bunch = ImageBunch(images, masks=masks)[good]
    assert len(masked().fit(bunch, LABELS[good]).predict_proba(bunch)) == N - 1


@pytest.mark.parametrize("problem", ["empty mask", "missing mask"])
@pytest.mark.parametrize("consumer", sorted(CONSUMERS))
def test_every_estimator_names_the_row_without_region(consumer, problem):
    spoil, message = SPOILERS[problem]
    with pytest.raises(ValueError, match=message.replace("{row}", "13")):
        CONSUMERS[consumer]().fit(spoil(*make_images(), 13), LABELS)


@pytest.mark.parametrize("consumer", ["network", "audit"])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(N, dtype=int), "rows of at least two classes, but y has only one class"),
        (np.where(np.arange(N) == 5, np.nan, LABELS), "y contains NaN: row 5 has no class"),
        (LABELS[1:], f"{N - 1}.* {N}|{N}, {N - 1}"),
        (None, "requires y to be passed"),
    ],
)
def test_classes_that_cannot_be_learned(consumer, y, message):
    images, masks = make_images()
    with pytest.raises(ValueError, match=message):
        CONSUMERS[consumer]().fit(ImageBunch(images, masks=masks), y)


@pytest.mark.parametrize("field", [None, "groups"])
def test_a_fold_with_one_class(field):
    images, masks = make_images()
    fields = {} if field is None else {"groups": LABELS}
    y = (np.arange(N) == 7).astype(int) if field is None else LABELS
    with pytest.raises(ValueError, match=r"cv=2 needs 4 (rows|patients .*) with 1, .* but there is 1; collect more"):
        audit().fit(ImageBunch(images, masks=masks, **fields), y)


def test_no_masks_at_all():
    images, _ = make_images()
    for consumer in CONSUMERS.values():
        with pytest.raises(ValueError, match=r"no masks: .*fit\(.*masks=.*ImageBunch.*segmenter"):
            consumer().fit(ImageBunch(images), LABELS)


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("consumer", sorted(CONSUMERS))
@settings(max_examples=4, deadline=None)
@given(row=st.integers(1, N - 1), share=st.floats(0, 0.99))
def test_a_png_cut_short(folder, tmp_path_factory, consumer, row, share):
    table = pd.read_csv(folder / "metadata.csv")
    cut = tmp_path_factory.mktemp("cut") / "cut short.png"
    content = (folder / f"image{row}.png").read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    table.loc[row, "image"] = str(cut)
    bunch = read(table, folder)
    with pytest.raises(ValueError, match=rf"row {row}: .*cut short.png: .*; replace the file or drop the row"):
        CONSUMERS[consumer]().fit(bunch, LABELS)
    good = bunch[np.delete(np.arange(N), row)]
    np.testing.assert_array_equal(np.asarray(good), np.asarray(read(table.drop(index=row), folder)))


def test_a_mask_of_another_size(folder, table, tmp_path):
    Image.fromarray(np.ones((5, 9), dtype=np.uint8)).save(tmp_path / "wide.png")
    table.loc[4, "mask"] = str(tmp_path / "wide.png")
    for consumer in CONSUMERS.values():
        with pytest.raises(ValueError, match=r"row 4: .*wide.png has 5 x 9 pixels, .* image with 9 x 7; .*stretch"):
            consumer().fit(read(table, folder), LABELS)


@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_table_that_names_a_missing_file(folder, table, column):
    table.loc[[6, 9], column] = ["nowhere.png", "lost.png"]
    wanted = rf"column '{column}': 2 files of {N} rows do not exist: row 6 .*nowhere.png, row 9 .*lost.png; correct the"
    with pytest.raises(FileNotFoundError, match=wanted):
        read(table, folder)
    loader = ImageLoader(masks="mask", target="label", groups="patient_id", root=folder)
    with pytest.raises(FileNotFoundError, match=wanted):
        make_pipeline(loader, masked()).fit(table, LABELS)
    with pytest.raises(FileNotFoundError, match=r"row 6: .*nowhere.png: there is no such file; .*drop the row"):
        masked().fit(read(table, folder, check=False), LABELS)


def test_a_study_with_a_missing_file(folder, table):
    table.loc[6, "image"] = "nowhere.png"
    table.to_csv(folder / "broken.csv", index=False)
    with pytest.raises(FileNotFoundError, match=r"nowhere.png"):
        load_study(folder, table="broken.csv")
    with pytest.warns(UserWarning, match="1"):
        bunch, y = load_study(folder, table="broken.csv", on_missing="drop", return_X_y=True)
    assert len(bunch) == N - 1
    np.testing.assert_array_equal(y, np.delete(LABELS, 6))


def test_dicom_without_pixels(tmp_path):
    path = get_testdata_file("CT_small.dcm", download=False)
    dataset = pydicom.dcmread(path)
    name = str(dataset.PatientID)
    del dataset.PixelData
    dataset.save_as(tmp_path / "stripped.dcm")
    paths = [path, path, tmp_path / "stripped.dcm", path]
    masks = np.ones((4, 128, 128), dtype=bool)
    bunch = ImageBunch(ImageFiles(paths), masks=masks)
    for attempt in (
        lambda: masked().fit(bunch, [0, 1, 0, 1]),
        lambda: ImageFiles(paths[2:]),
        lambda: cache_bunch(bunch),
    ):
        with pytest.raises(
            ValueError, match=r"stripped.dcm \(CT Image Storage\) has no pixel data .*copy it"
        ) as caught:
            attempt()
        assert name not in str(caught.value)
    with pytest.warns(UserWarning, match="1 of 2 images could not be read and are blank: row 2: .*stripped.dcm"):
        np.asarray(ImageFiles(paths, on_error="warn"))


def test_a_mask_that_says_nothing_of_its_image(folder, table, tmp_path):
    bunch = read(table, folder)
    boxes = [[0, 0, 4, 4]] * N
    boxes[5] = [0, 0, 40, 4]
    with pytest.raises(ValueError, match=r"row 5: boxes.*leaves the image of 9 x 7; check the format"):
        masked().fit(bunch.with_fields(masks=MaskFiles(boxes, (9, 7), kind="box")), LABELS)
    with pytest.raises(ValueError, match=r"masks must have shape \(n, 9, 7\) like the images, got \(24, 8, 8\)"):
        bunch.with_fields(masks=MaskFiles([[0, 0, 4, 4]] * N, (8, 8), kind="box"))


def test_folds_of_bad_rows_do_not_hide_the_error(folder, table, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    table.loc[2, "image"] = str(tmp_path / "empty.png")
    with pytest.raises(ValueError, match=r"empty.png: the file is empty; replace the file or drop the row"):
        cross_val_score(masked(), read(table, folder), LABELS, cv=KFold(2), error_score="raise")
