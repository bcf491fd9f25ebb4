"""Folders with a table."""

import gc
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import GroupKFold

from sklearn_shortcuts.datasets import load_study
from sklearn_shortcuts.images import cache_bunch
from tests.datasets.trees import draw, overlap, save

# Even numbers, so that halving the images keeps the edges sharp.
BOXES = [(12, 8, 24, 24), (0, 0, 20, 30), (30, 6, 10, 30), (4, 20, 16, 16)]


@pytest.fixture
def study(tmp_path):
    """Four images of two sizes, three masks drawn by people and one predicted."""
    rows = []
    for row, box in enumerate(BOXES):
        image, mask = draw((60, 40) if row % 2 else (40, 60), box)
        save(tmp_path / f"images/{row}.png", image)
        folder = "masks" if row < 3 else "masks_pred"
        values = np.where(mask, 255, 127).astype(np.uint8)
        save(tmp_path / f"{folder}/{row}.png", values)
        rows.append(
            {
                "image": f"images/{row}.png",
                "mask": f"masks/{row}.png" if row < 3 else None,
                "mask_pred": f"masks_pred/{row}.png" if row == 3 else None,
                "label": ["sick", "well"][row % 2],
                "patient_id": ["a", "b", "a", "c"][row],
                "effusion": row % 2,
                "edema": int(row == 0),
                "age": [10.0, np.nan, 30.0, 40.0][row],
            }
        )
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path, table


def change(folder, **columns):
    table = pd.read_csv(folder / "metadata.csv").assign(**columns)
    table.to_csv(folder / "metadata.csv", index=False)


def test_defaults_find_the_usual_columns(study):
    folder, table = study
    bunch, y = load_study(folder, size=(30, 30), mask_threshold=200, return_X_y=True)
    assert bunch.shape == (4, 30, 30)
    assert y.tolist() == ["sick", "well", "sick", "well"]
    assert bunch.groups.tolist() == ["a", "b", "a", "c"]
    assert bunch.has_mask.tolist() == [True, True, True, False]
    assert (overlap(bunch[bunch.has_mask]) > 0.9).all()
    assert not np.asarray(bunch.masks)[3].any()
    pd.testing.assert_frame_equal(bunch.metadata, table, check_dtype=False)
    assert next(iter(GroupKFold(3).split(bunch, y, bunch.groups)))[0].size


def test_predicted_masks_stand_in_and_are_told(study):
    folder, _ = study
    bunch = load_study(folder, size=30, masks=("mask", "mask_pred"), mask_threshold=200)
    assert bunch.has_mask.all()
    assert (overlap(bunch) > 0.9).all()
    assert bunch.metadata["mask_column"].tolist() == ["mask", "mask", "mask", "mask_pred"]
    without = load_study(folder, size=30, masks=("mask", "mask_pred"))
    assert (np.asarray(without.masks) > 0).mean() > (np.asarray(bunch.masks) > 0).mean() + 0.2


def test_labels_query_and_columns_of_choice(study):
    folder, _ = study
    bunch, y = load_study(
        folder,
        size=8,
        query="patient_id != 'c' and age.notna()",
        target=["effusion", "edema"],
        groups="age",
        masks=False,
        return_X_y=True,
    )
    assert y.to_numpy().tolist() == [[0, 1], [0, 0]]
    assert y.columns.tolist() == ["effusion", "edema"]
    assert bunch.groups.tolist() == [10.0, 30.0]
    assert "masks" not in bunch.fields
    bare = load_study(folder, size=8, target=False, groups=False, masks=False)
    assert bare.fields == ("metadata",)
    with pytest.raises(ValueError, match="return_X_y=True needs target"):
        load_study(folder, size=8, target=False, return_X_y=True)


def test_nothing_is_decoded_before_a_row_is_asked_for(study):
    folder, _ = study
    (folder / "images/2.png").write_bytes(b"not an image")
    bunch = load_study(folder, size=8)
    assert np.asarray(bunch[[0, 1, 3]]).shape == (3, 8, 8)
    with pytest.raises(ValueError, match=r"2\.png"):
        np.asarray(bunch)


def test_missing_images(study):
    folder, _ = study
    change(folder, image=["images/0.png", None, "images/9.png", "images/3.png"])
    with pytest.raises(FileNotFoundError, match=r"2 of 4 images .* no file, such as .*9\.png.*on_missing='drop'"):
        load_study(folder, size=8)
    with pytest.warns(UserWarning, match="2 of 4 images .* left out"):
        bunch = load_study(folder, size=8, on_missing="drop")
    assert bunch.groups.tolist() == ["a", "c"]
    change(folder, image="nowhere.png")
    with pytest.raises(FileNotFoundError, match="4 of 4 images"):
        load_study(folder, size=8, on_missing="drop")


def test_missing_masks(study):
    folder, _ = study
    (folder / "masks/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 masks named in the table have no file, such as .*1\.png"):
        load_study(folder, size=8)
    with pytest.warns(UserWarning, match="1 of 3 masks .* kept without a mask"):
        bunch = load_study(folder, size=8, on_missing="drop")
    assert bunch.has_mask.tolist() == [True, False, True, False]


def test_no_folder_and_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no metadata\.csv; a study is a folder"):
        load_study(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        load_study(tmp_path / "nowhere")
    (tmp_path / "metadata.csv").write_text("")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        load_study(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "picture"}, "image: the table has no column 'picture'; it has"),
        ({"masks": True}, "masks must be the name of a column, False or None, got True"),
        ({"masks": ["mask", "nope"]}, "masks: the table has no column 'nope'"),
        ({"target": "nope"}, "target: the table has no column"),
        ({"target": "mask"}, "target: 1 of 4 rows have no value in .* the first is row 3"),
        ({"groups": "age"}, "groups: 1 of 4 rows have no value"),
        ({"target": ["age"], "query": "age > 0"}, "several columns must hold 0 and 1 only"),
        ({"query": "nope == 1"}, "query 'nope == 1' cannot be evaluated"),
        ({"query": "age * 2"}, "must be true or false for every row"),
        ({"query": "age > 100"}, "no row is left: 4 rows before, none after query"),
        ({"on_missing": "skip"}, "on_missing must be one of"),
        ({"scale": 2.0}, "scale needs array"),
        ({"masks": False, "mask_threshold": 1}, "there is no column of masks"),
    ],
)
def test_wrong_arguments(study, options, message):
    with pytest.raises(ValueError, match=message):
        load_study(study[0], size=8, **options)


def test_a_view_pickles_and_reads_the_same(study):
    folder, _ = study
    bunch = load_study(folder, size=12, masks=("mask", "mask_pred"))
    view = bunch[[3, 0]]
    again = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(bunch)[[3, 0]])
    np.testing.assert_array_equal(np.asarray(again.masks), np.asarray(bunch.masks)[[3, 0]])


# -- arrays ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def array_study(tmp_path):
    rng = np.random.default_rng(3)
    signals = rng.integers(-2000, 2000, (5, 20, 3)).astype(np.int16)
    pictures = rng.integers(0, 256, (5, 6, 7), dtype=np.uint8)
    np.savez(tmp_path / "all.npz", signals=signals, pictures=pictures)
    np.save(tmp_path / "pictures.npy", pictures)
    np.savez(tmp_path / "secret.npz", np.array([{"a": 1}], dtype=object))
    pd.DataFrame({"label": list("abab"), "row": [4, 0, 3, 1]}).to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path, signals, pictures


def test_signals_in_an_archive_come_in_millivolts(array_study):
    folder, signals, _ = array_study
    options = {"array": "all.npz", "array_key": "signals", "index": "row", "axes": "NTC", "scale": 1e-3}
    bunch, y = load_study(folder, **options, return_X_y=True)
    assert bunch.signal
    assert bunch.image_shape == (3, 20)
    assert bunch.dtype == np.float32
    expected = signals[[4, 0, 3, 1]].transpose(0, 2, 1) / 1000
    np.testing.assert_allclose(np.asarray(bunch), expected, rtol=1e-6)
    assert y.tolist() == list("abab")
    assert list(bunch.metadata.columns) == ["label", "row"]
    chosen = load_study(folder, **options, query="label == 'b'")
    np.testing.assert_allclose(np.asarray(chosen), expected[[1, 3]], rtol=1e-6)
    again = pickle.loads(pickle.dumps(bunch[[2]]))
    np.testing.assert_allclose(np.asarray(again), expected[[2]], rtol=1e-6)
    assert len(pickle.dumps(bunch[[2]])) < len(pickle.dumps(bunch))


def test_images_in_a_plain_array_stay_on_disk(array_study):
    folder, _, pictures = array_study
    bunch = load_study(folder, array="pictures.npy", index="row")
    assert bunch.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(bunch), pictures[[4, 0, 3, 1]])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(bunch))), pictures[[4, 0, 3, 1]])
    color = load_study(folder, array="all.npz", array_key="signals", index="row", axes="NHW")
    assert color.shape == (4, 20, 3)


@pytest.mark.parametrize(
    "options", [{"array": "pictures.npy"}, {"array": "all.npz", "array_key": "signals", "axes": "NTC", "scale": 2.0}]
)
def test_caches_tell_arrays_apart(array_study, options):
    folder, _, _ = array_study
    bunch = load_study(folder, index="row", **options)
    other = load_study(folder, index="row", query="row != 3", **options)
    for rows in (bunch, other, bunch):
        np.testing.assert_array_equal(np.asarray(cache_bunch(rows, folder / "cache")), np.asarray(rows))
    assert len(list((folder / "cache").glob("*.npy"))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"array": "pictures.npy"}, "the table has 4 rows and pictures.npy has 5; give index"),
        ({"array": "pictures.npy", "index": "label"}, "index: 'a' in column 'label' is no row of pictures.npy"),
        ({"array": "pictures.npy", "index": "row", "array_key": "x"}, "array_key is for .npz files"),
        ({"array": "all.npz", "index": "row"}, "choose one by array_key"),
        ({"array": "all.npz", "array_key": "x", "index": "row"}, "not 'x'"),
        ({"array": "secret.npz", "index": "row"}, "cannot be read.*allow_pickle=False"),
        ({"array": "metadata.csv", "index": "row"}, "cannot be read"),
        ({"array": "pictures.npy", "index": "row", "axes": "NCHW"}, "has 4 axes, but the array has shape"),
        ({"array": "pictures.npy", "index": "row", "axes": "HWN"}, "axes must be one of"),
        ({"array": "pictures.npy", "index": "row", "size": 8}, "are for image files"),
    ],
)
def test_wrong_arrays(array_study, options, message):
    with pytest.raises(ValueError, match=message):
        load_study(array_study[0], **options)


def test_a_missing_array(array_study):
    with pytest.raises(FileNotFoundError, match=r"array: .*none\.npy"):
        load_study(array_study[0], array="none.npy")


# -- real studies ------------------------------------------------------------------------------------------------------
def test_chest_radiographs_of_children_and_adults(real_data):
    X, y = load_study(
        real_data / "cxr_age",
        masks=("mask", "mask_pred"),
        mask_threshold=200,
        query="label in ['normal', 'pneumonia']",
        size=64,
        channels=1,
        return_X_y=True,
    )
    assert X.shape == (1800, 64, 64)
    assert set(y) == {"normal", "pneumonia"}
    assert X.has_mask.all()
    assert (X.metadata.groupby("source")["mask_column"].agg(set) == [{"mask"}, {"mask_pred"}]).all()
    rows = np.r_[0:8, 1790:1798]
    area = np.asarray(X[rows].masks).mean(axis=(1, 2))
    assert ((area > 0.05) & (area < 0.6)).all()
    assert len(set(X.groups)) == 400 + 387 + len(set(X.groups[X.metadata["source"] == "nih_cxr14"]))


@pytest.mark.parametrize(("name", "n"), [("cxr_nih64", 1000), ("cxr_pneumothorax", 52)])
def test_nih_radiographs(real_data, name, n):
    target = "label" if name == "cxr_nih64" else "pneumothorax"
    X, y = load_study(real_data / name, target=target, size=32, channels=1, return_X_y=True)
    assert X.shape == (n, 32, 32)
    assert len(y) == n
    pixels = np.asarray(X[::40])
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert (pixels.std(axis=(1, 2)) > 0.03).all()


def test_dicom_of_many_vendors(real_data):
    X = load_study(real_data / "dicom_multivendor", target="vendor", size=32, channels=1)
    assert X.shape == (44, 32, 32)
    assert {"GE", "Philips", "Siemens"} <= set(X.target)
    pixels = np.asarray(X)
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_electrocardiograms(real_data):
    X, y = load_study(
        real_data / "ecg_ptbxl500",
        array="ptbxl_100hz_500.npz",
        array_key="signal_uV",
        index="npz_index",
        axes="NTC",
        scale=1e-3,
        target="superclass",
        query="superclass.notna()",
        return_X_y=True,
    )
    assert X.shape == (488, 12, 1000)
    assert X.image_shape == (12, 1000)
    assert len(y) == 488
    assert 0.1 < np.abs(np.asarray(X)).max() < 40


def test_digits(real_data):
    X, y = load_study(real_data / "mnist10k", array="mnist_t10k.npz", array_key="images", return_X_y=True)
    assert X.shape == (10000, 28, 28)
    with np.load(real_data / "mnist10k/mnist_t10k.npz") as file:
        np.testing.assert_array_equal(y, file["labels"])


def write_study(folder, **columns):
    """Write a table of images that exist; columns are of three rows."""
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.zeros((6, 5), np.uint8)).save(folder / name)
    frame = pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "patient_id": [1, 2, 3], **columns})
    frame.to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("patients", "groups"),
    [
        ([5, 6, 6], [5, 6, 6]),
        (["007", "7", "8"], ["007", "7", "8"]),
        (["0012", "0013", "0013"], ["0012", "0013", "0013"]),
        (["9007199254740993", "9007199254740992", "1"], [9007199254740993, 9007199254740992, 1]),
        (["839860488694292331637988235681460987", "839860488694292331637988235681460988", "1"], None),
        (["P1", "P2", "P1"], ["P1", "P2", "P1"]),
        (["1.5", "1.50", "2"], ["1.5", "1.50", "2"]),
    ],
)
def test_patients_are_kept_apart_as_they_are_written(tmp_path, patients, groups):
    bunch = load_study(write_study(tmp_path, patient_id=patients))
    assert bunch.groups.tolist() == (patients if groups is None else groups)
    assert bunch.metadata["patient_id"].tolist() == bunch.groups.tolist()


def test_big_numbers_beside_a_missing_patient(tmp_path):
    patients = ["9007199254740993", "9007199254740992", None]
    bunch = load_study(write_study(tmp_path, patient_id=patients), query="image != 'c.png'")
    assert bunch.groups.tolist() == patients[:2]


def test_paths_of_other_systems_and_absolute_ones(tmp_path):
    (tmp_path / "sub").mkdir()
    write_study(tmp_path / "sub")
    images = ["sub\\a.png", str(tmp_path / "sub" / "b.png"), " sub/c.png "]
    assert np.asarray(load_study(write_study(tmp_path, image=images))).shape == (3, 6, 5)


def test_an_empty_cell_is_named_by_its_row(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images .* no file, such as row 1 \(empty\)\. Complete"):
        load_study(write_study(tmp_path, image=["a.png", None, "c.png"]))


def test_a_table_without_rows(tmp_path):
    write_study(tmp_path)
    pd.DataFrame({"image": [], "mask": [], "label": [], "patient_id": []}).to_csv(tmp_path / "none.csv", index=False)
    assert load_study(tmp_path, table="none.csv", size=8).shape == (0, 8, 8)
    with pytest.raises(ValueError, match="give size="):
        load_study(tmp_path, table="none.csv")


def test_a_query_sees_the_table_only(tmp_path):
    with pytest.raises(ValueError, match=r"query '@os.getcwd\(\) == image' cannot be evaluated"):
        load_study(write_study(tmp_path), query="@os.getcwd() == image")


def test_an_array_file_cut_short_is_closed_again(tmp_path):
    write_study(tmp_path)
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4, 4)))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a\.npz' cannot be read"):
        load_study(tmp_path, array="a.npz")
    gc.collect()  # an open file would warn now


def test_a_table_in_another_encoding(tmp_path):
    write_study(tmp_path, label=["é", "è", "a"])
    (tmp_path / "metadata.csv").write_bytes((tmp_path / "metadata.csv").read_bytes().decode().encode("latin-1"))
    with pytest.raises(ValueError, match=r"cannot be read as a table: .*; save it as UTF-8"):
        load_study(tmp_path)
