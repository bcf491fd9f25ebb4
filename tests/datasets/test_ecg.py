import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from sklearn_shortcuts.datasets import make_ecg

SIGNS = ["st_elevation", "t_inversion", "wide_qrs"]
SHORTCUTS = ["amplified_beat", "lead_noise", "mains_hum"]
ALWAYS = {0: 1, 1: 1}


def band_powers(signals):
    """Mean power in bands of frequency, and the highest value, of every lead: features for a linear classifier."""
    spectrum = np.abs(np.fft.rfft(signals, axis=-1))
    bands = [band.mean(axis=-1) for band in np.array_split(spectrum, 12, axis=-1)]
    return np.concatenate([np.log(np.stack(bands, -1) + 1e-6).reshape(len(signals), -1), signals.max(axis=-1)], axis=1)


def auc(features, target):
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    model = LogisticRegression(C=0.01, max_iter=500)
    return roc_auc_score(target, cross_val_predict(model, features, target, cv=4, method="predict_proba")[:, 1])


def test_what_comes_back():
    study, y = make_ecg(6, recordings_per_patient=2, random_state=0, shortcut="mains_hum", return_X_y=True)
    assert study.signal
    assert study.shape == (6, 12, 1000)
    assert study.image_shape == (12, 1000)
    assert study.dtype == np.float32
    np.testing.assert_array_equal(y, study.target)
    assert study.masks.shape == study.artifact_masks.shape == (6, 1000)
    assert len(np.unique(study.groups)) == 3
    assert study.metadata["heart_rate"].between(45, 110).all()
    assert set(study.truth["subgroup"]) <= {
        f"{sign} {has} mains_hum" for sign in ("sign", "no sign") for has in ("with", "without")
    }


def test_metadata_are_what_a_hospital_would_know():
    study = make_ecg(300, n_leads=1, length=300, shortcut="mains_hum", random_state=0)
    assert list(study.metadata.columns) == ["patient_id", "heart_rate"]
    assert list(study.truth.columns) == ["sign", "sign_contrast", "shortcut", "mains_hum", "subgroup"]
    # Under no association the standard deviation is 0.033.
    assert abs(roc_auc_score(study.target, study.metadata["heart_rate"]) - 0.5) < 0.1


def test_the_beats_are_there_at_the_rate_of_the_metadata():
    study = make_ecg(10, length=3000, random_state=1)
    for signal, rate in zip(study, study.metadata["heart_rate"]):
        loud = np.abs(signal[:, :]).sum(axis=0)
        peaks, _ = find_peaks(loud, height=0.55 * np.quantile(loud, 0.995), distance=30)
        assert abs(60 / (np.diff(peaks).mean() / 100) - rate) < 0.05 * rate


@pytest.mark.parametrize("sampling_rate", [100, 250])
def test_limb_leads_obey_einthoven(sampling_rate):
    study = make_ecg(4, length=800, sampling_rate=sampling_rate, sign_contrast=0.5, random_state=0)
    for signal in np.asarray(study, dtype=float):
        one, two, three, right, left, foot = signal[:6]
        np.testing.assert_allclose(three, two - one, atol=0.02)
        np.testing.assert_allclose(right, -(one + two) / 2, atol=0.02)
        np.testing.assert_allclose(left, (one - three) / 2, atol=0.02)
        np.testing.assert_allclose(foot, (two + three) / 2, atol=0.02)


def test_the_seed_decides_everything_and_rows_do_not_depend_on_their_number():
    options = {"shortcut": SHORTCUTS, "prevalence": 0.6, "recordings_per_patient": 2, "twins": True, "random_state": 3}
    long, again, short = make_ecg(9, **options), make_ecg(9, **options), make_ecg(5, **options)
    for one, other in ((long, again), (long[:5], short)):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
        assert one.metadata.equals(other.metadata)
        assert one.truth.equals(other.truth)
        for name in ("masks", "artifact_masks", "artifact", "target", "twin", "groups"):
            np.testing.assert_array_equal(one.get(name), other.get(name))
    assert (np.asarray(long) != np.asarray(make_ecg(9, **{**options, "random_state": 4}))).any()
    few_leads = make_ecg(5, n_leads=3, **options)
    assert few_leads.shape == (5, 3, 1000)
    np.testing.assert_array_equal(few_leads.twin, short.twin[:, :3])


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_twins_differ_inside_the_artifact_mask_only(shortcut):
    study = make_ecg(30, shortcut=shortcut, prevalence=0.5, twins=True, random_state=0)
    signals, touched = np.asarray(study), study.artifact_masks
    outside = np.broadcast_to(~touched[:, None], signals.shape)
    np.testing.assert_array_equal(signals[outside], study.twin[outside])
    np.testing.assert_array_equal(touched.any(axis=1), study.artifact == 1)
    assert 0 < study.artifact.mean() < 1
    present = study.artifact == 1
    assert (np.abs(signals - study.twin)[present].max(axis=(1, 2)) > 0.03).all()
    seconds = touched[present].sum(axis=1) / 100
    assert ((seconds > 0.5) & (seconds <= {"lead_noise": 1.0, "amplified_beat": 0.6, "mains_hum": 10}[shortcut])).all()


def test_a_defective_lead_is_one_lead():
    study = make_ecg(4, shortcut="lead_noise", prevalence=ALWAYS, twins=True, random_state=0)
    changed = (np.asarray(study) != study.twin).any(axis=2)
    assert changed[:, 1].all()
    assert not np.delete(changed, 1, axis=1).any()
    level = np.asarray(study)[:, 1, :100].mean(axis=1)
    np.testing.assert_allclose(level, 2 * study.twin[:, 1, :100].max(axis=1), atol=0.06)


def test_hum_has_the_frequency_of_the_mains():
    study = make_ecg(2, sampling_rate=500, length=2000, shortcut="mains_hum", prevalence=ALWAYS, twins=True)
    hum = np.asarray(study) - study.twin
    frequencies = np.fft.rfftfreq(2000, 1 / 500)
    assert (frequencies[np.abs(np.fft.rfft(hum, axis=-1)).argmax(axis=-1)] == 50).all()


def test_the_amplified_beat_is_threefold_at_its_peak():
    study = make_ecg(10, shortcut="amplified_beat", prevalence=ALWAYS, twins=True, random_state=0)
    gain = np.asarray(study) / study.twin
    assert ((gain.max(axis=2) <= 3 + 1e-4) & (gain.max(axis=2) > 2.85)).all()


@pytest.mark.parametrize("prevalence", [0.95, {0: 0.2, 1: 0.6}])
def test_prevalence(prevalence):
    study = make_ecg(300, length=200, n_leads=1, shortcut="mains_hum", prevalence=prevalence, random_state=0)
    wanted = prevalence if isinstance(prevalence, dict) else {0: 1 - prevalence, 1: prevalence}
    assert 0.45 < study.target.mean() < 0.55
    for label, share in wanted.items():
        rows = study.target == label
        low, high = binom.interval(0.9999, rows.sum(), share)
        assert low <= study.artifact[rows].sum() <= high


@pytest.mark.parametrize("sign", SIGNS)
def test_the_sign_stays_inside_its_mask(sign):
    sick, healthy = (
        make_ecg(10, sign=sign, sign_contrast=0.5, class_balance=balance, random_state=0) for balance in (1, 0)
    )
    np.testing.assert_array_equal(sick.masks, healthy.masks)
    difference = np.asarray(sick) - np.asarray(healthy)
    inside = np.broadcast_to(sick.masks[:, None], difference.shape)
    assert not difference[~inside].any()
    np.testing.assert_allclose(np.abs(difference).max(axis=(1, 2)), 0.5, rtol=1e-3)
    assert 0.1 < sick.masks.mean() < 0.4
    hidden = make_ecg(10, sign=sign, sign_contrast=0, class_balance=1, random_state=0)
    np.testing.assert_array_equal(np.asarray(hidden), np.asarray(healthy))


def test_only_a_shortcut_tells_the_label_outside_the_mask():
    plain = []
    for seed in range(3):
        study = make_ecg(300, sign_contrast=0.5, random_state=seed)
        outside = np.where(study.masks[:, None], 0, np.asarray(study))
        plain.append(auc(band_powers(outside), study.target))
    assert abs(np.mean(plain) - 0.5) < 0.07
    study = make_ecg(300, sign_contrast=0.5, shortcut="lead_noise", random_state=0)
    outside = np.where(study.masks[:, None], 0, np.asarray(study))
    assert auc(band_powers(outside), study.target) > 0.85
    level = np.where(study.masks[:, None], np.asarray(study), 0).mean(axis=2)
    assert auc(np.abs(level), study.target) > 0.7


@settings(max_examples=25, deadline=None)
@given(
    n_leads=st.integers(1, 12),
    sampling_rate=st.sampled_from([50, 100, 128.5, 500]),
    seconds=st.floats(2, 6),
    sign=st.sampled_from(SIGNS),
    names=st.lists(st.sampled_from(SHORTCUTS), unique=True),
    prevalence=st.floats(0, 1),
    contrast=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_parameters(n_leads, sampling_rate, seconds, sign, names, prevalence, contrast, seed):
    length = int(np.ceil(seconds * sampling_rate))
    study = make_ecg(
        3,
        n_leads=n_leads,
        length=length,
        sampling_rate=sampling_rate,
        sign=sign,
        sign_contrast=contrast,
        shortcut=names,
        prevalence=prevalence,
        twins=True,
        random_state=seed,
    )
    signals = np.asarray(study)
    assert signals.shape == (3, n_leads, length)
    assert np.isfinite(signals).all()
    assert np.abs(study.twin).max() < 6
    assert study.masks.any(axis=1).all()
    outside = np.broadcast_to(~study.artifact_masks[:, None], signals.shape)
    np.testing.assert_array_equal(signals[outside], study.twin[outside])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 150}, "at least two seconds, 200 samples; got 150"),
        ({"n_leads": 13}, "n_leads"),
        ({"shortcut": "drain"}, "'drain' is not known"),
        ({"shortcut": {"mains_hum": {"scale": 2}}}, "no setting 'scale'"),
        ({"sign": "asystole"}, "sign"),
        ({"sign_contrast": -0.1}, "sign_contrast"),
        ({"sampling_rate": 10}, "sampling_rate"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_ecg(**{"n": 2, **arguments})
