"""The variance of gradients against the published formula on copies of the network, one row at a time."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import zscore
from skorch.callbacks import Callback
from torch import nn

from sklearn_shortcuts.mitigation import BAMHardSampleMiner, _gradient_variance
from sklearn_shortcuts.mitigation._gradient_variance import checkpoint_epochs, standardize_within_classes
from sklearn_shortcuts.neural import NeuralImageClassifier, RandomGeometry
from sklearn_shortcuts.neural._net import ClassifierNet

from .networks import smooth_cnn

N = 24
pytestmark = [  # what the miner says, rightly, of a few rows of noise
    pytest.mark.filterwarnings("ignore:no row is hard:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* rows are hard. the network of stage 1:UserWarning"),
    pytest.mark.filterwarnings("ignore:the network of stage 1 is right in:UserWarning"),
]


class Copies(Callback):
    """Keeps the whole network of every epoch; class attribute, because the classifier takes a copy of the callback."""

    kept: list = []

    def on_epoch_end(self, net, **kwargs):
        self.kept.append(copy.deepcopy(net.module_))


def images(n_channels=2):
    return np.random.default_rng(0).normal(size=(N, n_channels, 8, 8))


def network(n_outputs=3, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, n_outputs))
    module = nn.Sequential(smooth_cnn(n_outputs=8, n_channels=2, norm=True), *head)
    options = {"lr": 0.01, "batch_size": 10, "max_epochs": 6, "precision": "float64", "random_state": 0, **options}
    return NeuralImageClassifier(module.double(), **options)


def miner(estimator, **options):
    options = {"vog_checkpoints": 3, "stage_two_epochs": 0, "monitor": None, **options}
    return BAMHardSampleMiner(estimator, **options)


def expected_spread(networks, X, codes):
    """Mean over pixels of the standard deviation over networks of the label's gradient."""
    result = np.empty(codes.shape)
    for row, column in np.ndindex(codes.shape):
        gradients = []
        for module in networks:
            x = torch.from_numpy(X[row : row + 1]).requires_grad_()
            logits = module.eval()(x)[0]
            if codes.shape[1] == 1 and len(logits) > 1:
                logit = logits[codes[row, 0]]
            else:
                logit = logits[column] * (2 * codes[row, column] - 1)
            gradients.append(torch.autograd.grad(logit, x)[0].numpy())
        result[row, column] = np.std(gradients, axis=0).mean()
    return result


TARGETS = {
    "three classes": (np.arange(N) % 3, 3),
    "two classes": (np.arange(N) % 2, 2),
    "one logit": (np.arange(N) % 2, 1),
    "labels": (np.random.default_rng(1).integers(0, 2, (N, 2)), 2),
}


@pytest.mark.parametrize("target", TARGETS)
def test_formula(target):
    y, n_outputs = TARGETS[target]
    X = images()
    Copies.kept.clear()
    fitted = miner(network(n_outputs, callbacks=[Copies()])).fit(X, y)
    assert len(Copies.kept) == 6
    codes = y.reshape(N, -1)
    raw = expected_spread([Copies.kept[epoch] for epoch in (1, 3, 5)], X, codes)
    expected = np.empty(codes.shape)
    for column in range(codes.shape[1]):
        for value in np.unique(codes):
            rows = codes[:, column] == value
            expected[rows, column] = zscore(raw[rows, column])
    np.testing.assert_allclose(fitted.sample_table_["vog"], expected.mean(axis=1), rtol=1e-8, atol=1e-10)


def test_training_is_the_same_to_the_last_bit_and_nothing_is_left_behind():
    X, y = images(), np.arange(N) % 3
    generator = torch.get_rng_state()
    options = {"augmentation": RandomGeometry(rotation=10), "callbacks": [("copies", Copies())]}
    without = miner(network(**options), vog_checkpoints=0, stage_two_epochs=2).fit(X, y)
    with_it = miner(network(**options), vog_checkpoints=6, stage_two_epochs=2).fit(X, y)
    assert torch.equal(torch.get_rng_state(), generator)
    pd.testing.assert_frame_equal(without.sample_table_, with_it.sample_table_.drop(columns="vog"))
    for name in ("stage_one_", "estimator_"):
        one, two = getattr(without, name).net_, getattr(with_it, name).net_
        assert [label for label, _ in one.callbacks_] == [label for label, _ in two.callbacks_]
        assert not two.module_.training
        for (_, before), (_, after) in zip(one.module_.state_dict().items(), two.module_.state_dict().items()):
            assert torch.equal(before, after)
        assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in two.module_.parameters())
        assert not getattr(with_it, name).get_params()["callbacks"][1:]


def test_column_is_there_only_if_asked_for():
    X, y = images(), np.arange(N) % 2
    table = miner(network(2), vog_checkpoints=0).fit(X, y).sample_table_
    assert "vog" not in table


def test_held_out_rows_have_none_and_the_choice_is_part_of_the_memory(tmp_path, monkeypatch):
    X, y = images(), np.arange(N) % 2
    weight = np.where(np.arange(N) < 3, 0.0, 1.0)
    fits, plain_fit = [], NeuralImageClassifier.fit

    def counting(self, *args, **kwargs):
        fits.append(self)
        return plain_fit(self, *args, **kwargs)

    monkeypatch.setattr(NeuralImageClassifier, "fit", counting)
    options = {"monitor": "worst_class", "stage_two_epochs": 1, "memory": str(tmp_path), "difficulty": "vog"}
    tables = [miner(network(2), vog_checkpoints=k, **options).fit(X, y, weight).sample_table_ for k in (3, 2, 3)]
    assert len(fits) == 5  # three second stages, two first ones
    pd.testing.assert_frame_equal(tables[0], tables[2])
    assert not np.allclose(tables[0]["vog"], tables[1]["vog"], equal_nan=True)
    absent = tables[0]["held_out"] | (weight == 0)
    assert absent.sum() > 3
    for name in ("vog", "prototypicality"):
        np.testing.assert_array_equal(tables[0][name].isna(), absent)


@pytest.mark.parametrize("epoch", [2, 5])
def test_interrupted_training_keeps_what_is_there(monkeypatch, epoch):
    plain_step, steps = ClassifierNet.train_step_single, []

    def press(self, batch, **kwargs):
        steps.append(1)
        if len(steps) == 3 * epoch - 1:
            raise KeyboardInterrupt
        return plain_step(self, batch, **kwargs)

    monkeypatch.setattr(ClassifierNet, "train_step_single", press)
    with pytest.warns(UserWarning, match=f"interrupted in epoch {epoch}"):
        table = miner(network(2)).fit(images(), np.arange(N) % 2).sample_table_
    assert table["vog"].notna().all() == (epoch == 5)  # epochs 2 and 4 are two checkpoints, 2 alone is none
    assert table["prototypicality"].notna().all()


def test_interrupted_measurement_is_not_kept_for_others(monkeypatch, tmp_path):
    X, y, plain, batches = images(), np.arange(N) % 2, _gradient_variance._spread_over_checkpoints, []

    def press(*arguments):
        batches.append(1)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(_gradient_variance, "_spread_over_checkpoints", press)
    with pytest.warns(UserWarning, match="the computation of 'vog' was interrupted"):
        first = miner(network(2), memory=str(tmp_path), stage_two_epochs=1).fit(X, y)
    assert 0 < first.sample_table_["vog"].notna().sum() < N
    assert first.sample_table_["aux"].notna().all()
    assert (first.history_["stage"] == 1).all()
    again = miner(network(2), memory=str(tmp_path), stage_two_epochs=1).fit(X, y)
    assert again.sample_table_["vog"].notna().all()
    assert again.history_["stage"].iloc[-1] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": "vog", "vog_checkpoints": 0}, "difficulty='vog' needs checkpoints to compare: set vog_"),
        ({"vog_checkpoints": 7}, "vog_checkpoints=7 are more than the 6 epochs of stage 1"),
        ({"vog_checkpoints": 1}, "'vog_checkpoints' parameter"),
    ],
)
def test_bad_choices(options, message):
    with pytest.raises(ValueError, match=message):
        miner(network(2), **options).fit(images(), np.arange(N) % 2)


def test_checkpoints_are_equally_spaced_and_end_with_the_last_epoch():
    assert checkpoint_epochs(10, 5).tolist() == [2, 4, 6, 8, 10]
    assert checkpoint_epochs(10, 10).tolist() == list(range(1, 11))
    assert checkpoint_epochs(10, 3).tolist() == [4, 7, 10]


def test_standardization_with_weights_is_that_of_repetitions():
    rng = np.random.default_rng(0)
    values, codes, weight = rng.random((20, 1)), np.arange(20) % 2, rng.integers(1, 4, 20)
    rows = np.repeat(np.arange(20), weight)
    repeated = standardize_within_classes(values[rows], codes[rows], np.ones(len(rows)))
    np.testing.assert_allclose(standardize_within_classes(values, codes, weight)[rows], repeated, rtol=1e-12)
    alike = standardize_within_classes(np.full((4, 1), 0.1), np.array([0, 0, 0, 1]), np.array([1.0, 1, 1, 0]))
    np.testing.assert_array_equal(alike, [0, 0, 0, np.nan])
