"""Tables of paths to bunches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.utils.multiclass import type_of_target

from sklearn_shortcuts.images import ImageBunch, ImageFiles, MaskFiles, bunch_from_frame


@pytest.fixture
def study(tmp_path):
    """A folder with images and masks of several sizes, and its table."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rows = []
    for row, shape in enumerate([(30, 40), (44, 32), (36, 36), (30, 40)]):
        image = rng.integers(0, 100, shape, dtype=np.uint8)
        image[10:20, 8:25] += 150
        Image.fromarray(image).save(tmp_path / "images" / f"patient{row}.png")
        mask = np.zeros(shape, np.uint8)
        mask[10:20, 8:25] = 255
        mask[0] = 127
        Image.fromarray(mask).save(tmp_path / "masks" / f"patient{row}.png")
        rows.append(
            {
                "image": f"images/patient{row}.png",
                "mask": f"masks/patient{row}.png",
                "label": ["ill", "well"][row % 2],
                "patient": f"p{row // 2}",
                "weight": 1.0 + row,
                "age": 50 + row,
            }
        )
    frame = pd.DataFrame(rows, index=[f"case {row}" for row in range(4)])
    frame.loc["case 2", "mask"] = None
    return tmp_path, frame


def test_columns_become_fields(study):
    folder, frame = study
    bunch = bunch_from_frame(
        frame,
        masks="mask",
        target="label",
        groups="patient",
        sample_weight="weight",
        root=folder,
        size=(24, 20),
        mask_options={"threshold": 200},
    )
    assert bunch.shape == (4, 24, 20)
    assert set(bunch.fields) == {"masks", "target", "groups", "sample_weight", "metadata"}
    assert bunch.target.tolist() == frame.label.tolist()
    assert bunch.groups.tolist() == frame.patient.tolist()
    assert bunch.sample_weight.tolist() == [1, 2, 3, 4]
    assert list(bunch.metadata.columns) == ["age"]
    assert bunch.metadata.index.tolist() == frame.index.tolist()
    assert bunch.has_mask.tolist() == [True, True, False, True]
    view = bunch[[3, 1]]
    assert view.metadata.age.tolist() == [53, 51]
    images, masks = np.asarray(view), np.asarray(view.masks)
    assert images[masks].min() > 0.45
    assert masks.any(axis=(1, 2)).all()
    assert images[~masks].mean() < 0.25


def test_from_frame_is_the_same(study):
    folder, frame = study
    ours = ImageBunch.from_frame(frame, masks="mask", root=folder, size=16)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(bunch_from_frame(frame, root=folder, size=16)))
    files = ImageFiles(frame.image, root=folder, size=16)
    np.testing.assert_array_equal(
        np.asarray(ours.masks), MaskFiles(frame["mask"], 16, root=folder, original_shapes=files)[:]
    )


def test_several_columns(study):
    folder, frame = study
    frame = frame.assign(second=frame.image, edema=[0, 1, 1, 0], effusion=[1, 0, 1, 0])
    bunch = bunch_from_frame(
        frame, ["image", "second"], target=["edema", "effusion"], masks=["mask", "mask"], root=folder, size=16
    )
    assert bunch.shape == (4, 2, 16, 16)
    assert list(bunch.target.columns) == ["edema", "effusion"]
    assert bunch[[1]].target.to_numpy().tolist() == [[1, 0]]
    assert bunch.has_mask.tolist() == [True, True, False, True]
    assert "second" not in bunch.metadata


@pytest.mark.parametrize(
    ("metadata", "kept"), [(None, ["mask", "label", "patient", "weight"]), (["age"], None), ([], [])]
)
def test_metadata(study, metadata, kept):
    folder, frame = study
    bunch = bunch_from_frame(frame, root=folder, size=8, artifact="age", metadata=metadata)
    if kept == []:
        assert "metadata" not in bunch.fields
    else:
        assert list(bunch.metadata.columns) == (kept or ["age"])


def test_boxes_in_a_table(study):
    folder, frame = study
    frame["box"] = [[(10, 8, 19, 24)], "[[10, 8, 19, 24]]", None, []]
    bunch = bunch_from_frame(
        frame,
        masks="mask",
        artifact_masks="box",
        root=folder,
        size=40,
        mask_options={"threshold": 200},
        artifact_mask_options={"kind": "box"},
    )
    np.testing.assert_array_equal(np.asarray(bunch.masks)[:2], np.asarray(bunch.artifact_masks)[:2])
    assert not np.asarray(bunch.artifact_masks)[2:].any()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"masks": "lungs"}, ValueError, r"masks: the table has no column 'lungs'; it has \['image', "),
        ({"image": "path"}, ValueError, "image: the table has no column 'path'"),
        ({"target": ["label", "x"]}, ValueError, "target: the table has no column 'x'"),
        ({"metadata": ["height"]}, ValueError, "metadata: the table has no column 'height'"),
        (
            {"groups": "mask"},
            ValueError,
            r"groups: column 'mask' is empty in 1 rows, the first is row 2 \(index 'case 2'",
        ),
        ({"root": "nowhere"}, FileNotFoundError, r"column 'image': 4 files of 4 rows do not exist"),
        ({"root": "nowhere", "check": False}, FileNotFoundError, "there is no such file"),
        (
            {"masks": "label"},
            FileNotFoundError,
            r"column 'label': 4 files of 4 rows do not exist: row 0 \(index 'case 0'",
        ),
        ({"masks": "age"}, TypeError, "column 'age': row 0 must be a path or a list of paths, got 50"),
    ],
)
def test_what_is_wrong_is_named(study, options, error, match):
    folder, frame = study
    with pytest.raises(error, match=match):
        bunch_from_frame(frame, **{"root": folder, **options})


@pytest.mark.parametrize("column", ["image", "mask", "patient"])
def test_a_column_that_stands_twice(study, column):
    folder, frame = study
    frame = pd.concat([frame, frame[[column]]], axis=1)
    with pytest.raises(ValueError, match=f"the table has several columns '{column}'"):
        bunch_from_frame(frame, masks="mask", groups="patient", root=folder)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "", " "])
def test_a_row_without_image_names_column_and_row(study, missing):
    folder, frame = study
    frame = frame.astype({"image": object})
    frame.iloc[2, frame.columns.get_loc("image")] = missing
    with pytest.raises(ValueError, match="column 'image': 1 rows have no path, the first is row 2"):
        bunch_from_frame(frame, root=folder)


@pytest.mark.parametrize("dtype", [object, "string", "category", "str"])
def test_columns_of_any_type_of_text(study, dtype):
    folder, frame = study
    expected = bunch_from_frame(frame, masks="mask", groups="patient", root=folder, size=32)
    texts = frame.astype(dict.fromkeys(("image", "mask", "patient"), dtype))
    bunch = bunch_from_frame(texts, masks="mask", groups="patient", root=folder, size=32)
    np.testing.assert_array_equal(np.asarray(bunch), np.asarray(expected))
    assert bunch.has_mask.tolist() == expected.has_mask.tolist()
    assert list(bunch.groups) == list(expected.groups)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "category", "object", "int8", "bool"])
def test_classes_of_any_type_of_number_can_be_learned(study, dtype):
    folder, frame = study
    classes = pd.Series([0, 1, 1, 0], index=frame.index).astype(bool if dtype == "boolean" else int).astype(dtype)
    bunch = bunch_from_frame(frame.assign(sick=classes), target="sick", root=folder)
    assert type_of_target(bunch.target) == "binary"
    assert np.asarray(bunch.target).astype(int).tolist() == [0, 1, 1, 0]


def test_a_table_with_a_missing_file(study, tmp_path):
    folder, frame = study
    path = tmp_path / "study.csv"
    frame.to_csv(path)
    (folder / "images" / "patient3.png").unlink()
    table = pd.read_csv(path, index_col=0)
    with pytest.raises(FileNotFoundError) as caught:
        bunch_from_frame(table, masks="mask", root=folder, size=8)
    text = str(caught.value)
    assert "column 'image': 1 files of 4 rows do not exist: row 3 (index 'case 3')" in text
    assert str(folder / "images" / "patient3.png") in text
    assert "give their folder as root=" in text
    later = bunch_from_frame(table, masks="mask", root=folder, size=8, check=False)
    assert later[[0, 1]].has_mask.all()
    with pytest.raises(FileNotFoundError, match="row 3: "):
        np.asarray(later)


def test_repeated_images(study):
    folder, frame = study
    frame.loc["case 3", "image"] = frame.loc["case 0", "image"]
    with pytest.warns(UserWarning, match=r"2 rows share their image .* rows 0 and 3 .*: give them one group"):
        bunch_from_frame(frame, root=folder, size=8)
    with pytest.warns(UserWarning, match="share their image"):
        bunch_from_frame(frame, groups="patient", root=folder, size=8)
    frame["patient"] = ["a", "b", "c", "a"]
    bunch_from_frame(frame, groups="patient", root=folder, size=8)


def test_not_a_table():
    with pytest.raises(TypeError, match="frame must be a pandas DataFrame"):
        bunch_from_frame([["a.png"]])


def test_five_thousand_paths_with_masks_stay_small():
    n = 5000
    frame = pd.DataFrame(
        {
            "image": [f"site{row % 5}/images/view_{row:06d}_frontal.png" for row in range(n)],
            "mask": [f"site{row % 5}/masks/view_{row:06d}_lungs.png" for row in range(n)],
            "label": np.arange(n) % 2,
            "patient": np.arange(n) // 3,
        }
    )
    bunch = bunch_from_frame(
        frame,
        masks="mask",
        target="label",
        groups="patient",
        root="/a/long/folder/that/is/the/same/for/all/of/the/files/of/this/study",
        size=64,
        channels=1,
        check=False,
    )
    assert len(pickle.dumps(bunch)) < 1e6
    fold = np.random.default_rng(0).permutation(n)[: n // 2]
    assert len(pickle.dumps(bunch[fold])) < 6e5


def test_real_masks_lie_on_the_lungs(real_data):
    frame = pd.read_csv(real_data / "cxr_age" / "metadata.csv").groupby("source").head(4)
    bunch = bunch_from_frame(
        frame,
        masks="mask",
        target="label",
        groups="patient_id",
        root=real_data / "cxr_age",
        size=96,
        channels=1,
        mask_options={"threshold": 200},
    )
    images, masks = np.asarray(bunch), np.asarray(bunch.masks)
    share = masks[bunch.has_mask].mean(axis=(1, 2))
    assert ((share > 0.05) & (share < 0.7)).mean() > 0.9
    assert (masks & (images == 0)).sum() < 0.02 * masks.sum()  # hardly a lung in the black margins
