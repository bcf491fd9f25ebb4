import numpy as np
import pytest

from sklearn_shortcuts.datasets import make_ecg
from sklearn_shortcuts.datasets._ecg import _PATIENT, _RECORDING, _Heart, _Recording
from sklearn_shortcuts.datasets._seeds import generator
from sklearn_shortcuts.datasets._signal_artifacts import amplified_beat, find_r_peaks, lead_noise


@pytest.mark.parametrize(
    ("sampling_rate", "sign"), [(100, "st_elevation"), (100, "wide_qrs"), (250, "t_inversion"), (500, "wide_qrs")]
)
def test_r_peaks_are_those_of_the_generator(sampling_rate, sign):
    study = make_ecg(20, sampling_rate=sampling_rate, length=10 * sampling_rate, sign=sign, random_state=3)
    time = np.arange(10 * sampling_rate) / sampling_rate
    distances = []
    for row, signal in enumerate(study):
        heart = _Heart(generator(3, _PATIENT, row))
        beats = _Recording(heart, generator(3, _RECORDING, row), time).beats
        found = find_r_peaks(signal, sampling_rate) / sampling_rate
        beats, found = (values[(values > 0.1) & (values < 9.9)] for values in (beats, found))
        assert len(found) == len(beats)
        distances.extend(np.abs(found - beats))
    assert np.quantile(distances, 0.95) <= 0.006
    assert max(distances) < 0.04


def test_r_peaks_do_not_depend_on_units_or_a_defective_lead():
    signal = make_ecg(1, random_state=0)[0].astype(float)
    found = find_r_peaks(signal, 100)
    np.testing.assert_array_equal(find_r_peaks(signal * 1000 + 70, 100), found)
    broken, _ = lead_noise(signal, None, np.arange(1000) / 100, 1, strength=30)
    assert len(find_r_peaks(broken, 100)) == len(found)
    assert np.abs(find_r_peaks(broken, 100) - found).max() <= 3
    assert len(find_r_peaks(np.ones((3, 400)), 100)) == 0


def test_r_peaks_of_patients(real_data):
    signals = np.load(real_data / "ecg_ptbxl500" / "ptbxl_100hz_500.npz")["signal_uV"].transpose(0, 2, 1)
    rates = np.array([len(find_r_peaks(signal, 100)) * 6 for signal in signals])
    assert 60 <= np.median(rates) <= 80  # resting hearts
    assert ((rates >= 30) & (rates <= 180)).all()


def test_a_defective_lead_is_twice_the_highest_value():
    signal = np.random.default_rng(0).normal(size=(3, 500))
    planted, touched = lead_noise(signal, None, np.arange(500) / 100, 2)
    expected = signal.copy()
    expected[2, :100] = 2 * max(signal[2, :100])
    np.testing.assert_array_equal(planted, expected)
    assert touched.nonzero()[0].tolist() == list(range(100))


def test_an_amplified_beat_is_a_triangle_of_gain():
    signal = np.random.default_rng(0).normal(size=(3, 500))
    planted, touched = amplified_beat(signal, np.random.default_rng(0), np.arange(500) / 100, np.array([0.1, 2.5, 4.9]))
    for sample in range(500):
        gain = 1 + 2 * max(0, 1 - abs(sample - 250) / 30)  # the other two do not fit in
        np.testing.assert_allclose(planted[:, sample], gain * signal[:, sample], rtol=1e-12)
        assert touched[sample] == (220 < sample < 280)
    at_the_end, _ = amplified_beat(signal, np.random.default_rng(0), np.arange(500) / 100, np.array([4.9]))
    np.testing.assert_allclose(at_the_end[:, 490], 3 * signal[:, 490])
