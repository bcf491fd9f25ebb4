"""PTB-XL and the WFDB records it consists of."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_shortcuts.datasets import load_ptbxl
from sklearn_shortcuts.datasets._wfdb import WfdbRows, read_wfdb
from sklearn_shortcuts.images import cache_bunch

LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
IMI,inferior infarction,1.0,,,MI,IMI
AMI,anterior infarction,1.0,,,MI,AMI
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC
SR,sinus rhythm,,,1.0,,
"""
ROWS = [
    # ecg_id, patient, age, sex, site, device, codes, fold
    (1, 10.0, 56.0, 1, 0.0, "CS-12   E", "{'NORM': 100.0, 'SR': 0.0}", 1),
    (2, 10.0, 57.0, 1, 0.0, "CS-12   E", "{'IMI': 0.0, 'AMI': 50.0}", 1),
    (3, 11.0, 300.0, 0, 2.0, "AT-6 C 5.5", "{'SR': 0.0}", 9),
    (4, 12.0, 40.0, 0, np.nan, "AT-6 C 5.5", "{'NDT': 100.0, 'NORM': 35.0}", 10),
]


def write_wfdb(record, samples, *, fs=100, gain="1000.0(0)/mV", leads=LEADS, checksum=True):
    """Write a record of shape (leads, samples) in format 16."""
    samples = np.asarray(samples, dtype="<i2")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.with_suffix(".dat").write_bytes(samples.T.tobytes())
    lines = [f"{record.name} {len(samples)} {fs} {samples.shape[1]}"]
    for lead, row in zip(leads, samples):
        total = (int(row.astype(np.int64).sum()) + 2**15) % 2**16 - 2**15
        lines.append(f"{record.name}.dat 16 {gain} 16 0 {row[0]} {total if checksum else total ^ 1} 0 {lead}")
    record.with_suffix(".hea").write_text("\n".join([*lines, "# a comment"]) + "\n")


@pytest.fixture
def ptbxl(tmp_path):
    rng = np.random.default_rng(0)
    table, signals = [], []
    for ecg_id, patient, age, sex, site, device, codes, fold in ROWS:
        name = f"records100/00000/{ecg_id:05d}_lr"
        signals.append(rng.integers(-3000, 3000, (12, 1000)))
        write_wfdb(tmp_path / name, signals[-1])
        table.append((ecg_id, patient, age, sex, site, device, codes, fold, name, " ", "1990-01-01"))
    columns = "ecg_id patient_id age sex site device scp_codes strat_fold filename_lr static_noise recording_date"
    pd.DataFrame(table, columns=columns.split()).to_csv(tmp_path / "ptbxl_database.csv", index=False)
    (tmp_path / "scp_statements.csv").write_text(STATEMENTS)
    return tmp_path, np.array(signals)


def test_signals_labels_patients_and_devices(ptbxl):
    root, samples = ptbxl
    ecg, y = load_ptbxl(root, return_X_y=True)
    assert ecg.shape == (4, 12, 1000)
    assert ecg.image_shape == (12, 1000)
    assert ecg.dtype == np.float32
    np.testing.assert_allclose(np.asarray(ecg), samples / 1000, rtol=1e-6)
    assert y.columns.tolist() == ["NORM", "MI", "STTC", "CD", "HYP"]
    assert y.to_numpy()[:, :3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert not y[["CD", "HYP"]].to_numpy().any()
    assert ecg.groups.tolist() == [10, 10, 11, 12]
    metadata = ecg.metadata
    assert metadata["device"].tolist() == ["CS-12 E", "CS-12 E", "AT-6 C 5.5", "AT-6 C 5.5"]
    assert metadata["site"].tolist()[:3] == ["0", "0", "2"]
    assert pd.isna(metadata["site"].iloc[3])
    assert metadata["age"].tolist() == [56, 57, 90, 40]
    assert metadata["sex"].tolist() == ["F", "F", "M", "M"]
    assert metadata["split"].tolist() == ["train", "train", "validation", "test"]
    assert metadata["static_noise"].isna().all()
    assert "recording_date" not in metadata


def test_levels_likelihood_and_chosen_labels(ptbxl):
    root, _ = ptbxl
    assert load_ptbxl(root, target="subclass").target.columns.tolist() == ["AMI", "IMI", "NORM", "STTC"]
    assert load_ptbxl(root, target="rhythm").target["SR"].tolist() == [1, 0, 1, 0]
    assert load_ptbxl(root, target="form").target["NDT"].tolist() == [0, 0, 0, 1]
    only_sure = load_ptbxl(root, target="diagnostic", labels=["IMI", "NORM"], min_likelihood=50)
    assert only_sure.target.columns.tolist() == ["IMI", "NORM"]
    assert only_sure.target.to_numpy().tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]
    with pytest.raises(ValueError, match=r"labels must be some of .*'SR'.*got \['HYP'\]"):
        load_ptbxl(root, target="rhythm", labels=["HYP"])


@pytest.mark.parametrize(("subset", "rows"), [("train", [0, 1]), ("validation", [2]), ("test", [3])])
def test_official_folds(ptbxl, subset, rows):
    root, samples = ptbxl
    np.testing.assert_allclose(np.asarray(load_ptbxl(root, subset=subset)), samples[rows] / 1000, rtol=1e-6)


def test_nothing_is_read_before_a_row_is_asked_for(ptbxl):
    root, _ = ptbxl
    (root / "records100/00000/00002_lr.dat").write_bytes(b"")
    ecg = load_ptbxl(root)
    assert np.asarray(ecg[[0, 2]]).shape == (2, 12, 1000)
    with pytest.raises(ValueError, match=r"00002_lr\.dat: 0 samples, but the header says 12 x 1000"):
        np.asarray(ecg)


def test_missing_recordings(ptbxl):
    root, samples = ptbxl
    (root / "records100/00000/00001_lr.dat").unlink()
    (root / "records100/00000/00003_lr.hea").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 record headers named in the table have no file.*on_missing"):
        load_ptbxl(root)
    with pytest.warns(UserWarning, match="1 of 4 record headers"), pytest.warns(UserWarning, match="1 of 3 recordings"):
        ecg = load_ptbxl(root, on_missing="drop")
    np.testing.assert_allclose(np.asarray(ecg), samples[[1, 3]] / 1000, rtol=1e-6)
    assert ecg.metadata["ecg_id"].tolist() == [2, 4]


def test_missing_tables_are_named_together(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)missing database: ptbxl_.*missing statements: scp_.*physionet"):
        load_ptbxl(tmp_path)


def test_statements_are_parsed_not_evaluated(ptbxl):
    root, _ = ptbxl
    table = pd.read_csv(root / "ptbxl_database.csv")
    table.loc[1, "scp_codes"] = "__import__('os').getcwd()"
    table.to_csv(root / "ptbxl_database.csv", index=False)
    with pytest.raises(ValueError, match="scp_codes of ecg_id 2 cannot be read"):
        load_ptbxl(root)


def test_a_view_pickles_with_its_own_rows_only(ptbxl):
    root, samples = ptbxl
    view = load_ptbxl(root)[[3, 1]]
    packed = pickle.dumps(view)
    assert b"00001_lr" not in packed
    np.testing.assert_allclose(np.asarray(pickle.loads(packed)), samples[[3, 1]] / 1000, rtol=1e-6)


def test_a_cache_follows_the_files(ptbxl):
    root, samples = ptbxl
    folder = root / "cache"
    np.testing.assert_allclose(np.asarray(cache_bunch(load_ptbxl(root), folder)), samples / 1000, rtol=1e-6)
    assert len(list(folder.glob("*.npy"))) == 1
    cache_bunch(load_ptbxl(root), folder)
    assert len(list(folder.glob("*.npy"))) == 1
    write_wfdb(root / "records100/00000/00001_lr", -samples[0])
    np.testing.assert_allclose(np.asarray(cache_bunch(load_ptbxl(root), folder))[0], -samples[0] / 1000, rtol=1e-6)


def test_wrong_choices(ptbxl):
    root, _ = ptbxl
    for name, value in {"subset": "val", "target": "class", "sampling_rate": 250}.items():
        with pytest.raises(ValueError, match=f"{name} must be one of"):
            load_ptbxl(root, **{name: value})
    with pytest.raises(ValueError, match="min_likelihood is a percentage"):
        load_ptbxl(root, min_likelihood=101)


# -- WFDB --------------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
    gain=st.sampled_from([("200", 200, 0, 1), ("1000.0(0)/mV", 1000, 0, 1), ("4(-7)/uV", 4, -7, 1e-3)]),
)
def test_any_record_comes_back(tmp_path_factory, shape, seed, gain):
    text, factor, baseline, unit = gain
    samples = np.random.default_rng(seed).integers(-(2**15) + 1, 2**15, shape)
    record = tmp_path_factory.mktemp("wfdb") / "r"
    write_wfdb(record, samples, gain=text)
    signal, leads, rate = read_wfdb(record)
    np.testing.assert_allclose(signal, (samples - baseline) / factor * unit, rtol=1e-5, atol=1e-7)
    assert leads == LEADS[: shape[0]]
    assert rate == 100


def test_invalid_samples_are_nan(tmp_path):
    write_wfdb(tmp_path / "r", [[1, -(2**15), 3]])
    np.testing.assert_array_equal(np.isnan(read_wfdb(tmp_path / "r")[0]), [[False, True, False]])


def test_a_damaged_record_is_refused(tmp_path):
    write_wfdb(tmp_path / "r", np.arange(24).reshape(2, 12), checksum=False)
    with pytest.raises(ValueError, match="checksum of lead I is wrong"):
        read_wfdb(tmp_path / "r")
    write_wfdb(tmp_path / "s", np.arange(24).reshape(2, 12))
    data = bytearray((tmp_path / "s.dat").read_bytes())
    data[8] ^= 1
    (tmp_path / "s.dat").write_bytes(data)
    with pytest.raises(ValueError, match="checksum of lead I is wrong"):
        read_wfdb(tmp_path / "s")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "expected a record line"),
        ("r/2 1 100 4", "single segment"),
        ("r 2 100 4\nr.dat 16 200 16 0 0 0 0 I", "promises 2 leads, 1 are described"),
        ("r one 100 4\nr.dat 16 200", "cannot be read"),
        ("r 1 100 4\nr.dat 212 200 16 0 0 0 0 I", "only WFDB format 16 is supported, got format 212"),
        ("r 1 100 4\nr.dat 16 200/furlong 16 0 0 0 0 I", "cannot be read"),
        ("r 1 100 4\nr.dat 16 0 16 0 0 0 0 I", "cannot be read"),
        ("r 2 100 4\na.dat 16 200 16 0 0 0 0 I\nb.dat 16 200 16 0 0 0 0 II", "several files"),
    ],
)
def test_headers_that_are_refused(tmp_path, header, message):
    (tmp_path / "r.hea").write_text(header)
    (tmp_path / "r.dat").write_bytes(np.zeros(4, "<i2").tobytes())
    with pytest.raises(ValueError, match=message):
        read_wfdb(tmp_path / "r")


def test_a_header_cannot_reach_outside_its_folder(tmp_path):
    (tmp_path / "secret.dat").write_bytes(np.ones(4, "<i2").tobytes())
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/r.hea").write_text("r 1 100 4\n../secret.dat 16 200 16 0 1 4 0 I\n")
    with pytest.raises(FileNotFoundError):
        read_wfdb(tmp_path / "inner/r")


def test_records_of_another_length_or_lead_order_are_refused(tmp_path):
    write_wfdb(tmp_path / "a", np.zeros((2, 8)))
    write_wfdb(tmp_path / "b", np.zeros((2, 9)))
    write_wfdb(tmp_path / "c", np.zeros((2, 8)), leads=["II", "I"])
    for other in "bc":
        with pytest.raises(ValueError, match=f"{other}: 2 leads .* but the first record has"):
            np.asarray(WfdbRows([str(tmp_path / "a"), str(tmp_path / other)]))
