"""What the miner finds and what it trains."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_distances
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.images._sources import RowSource
from sklearn_shortcuts.metrics import make_group_scorer, make_subgroups, subgroup_accuracy
from sklearn_shortcuts.mitigation import BAMHardSampleMiner
from sklearn_shortcuts.mitigation._hard_samples import ALL_SCORES, _largest
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.neural._net import ClassifierNet

from .planted_groups import draw, small_network, worst_group


@pytest.fixture(scope="module")
def rows():
    return draw(1000, 0.95, 0)


@pytest.fixture(scope="module")
def mined(rows):
    """By number of epochs."""
    X, y, _ = rows
    fitted = {}
    for epochs in (15, 60):
        miner = BAMHardSampleMiner(small_network(), stage_one_epochs=epochs, stage_two_epochs=0)
        fitted[epochs] = miner.fit(X, y)
    return fitted


# -- what it finds -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("epochs", [15, 60])
def test_rows_against_the_shortcut_are_hard(rows, mined, epochs):
    _, _, against = rows
    miner = mined[epochs]
    assert roc_auc_score(against, miner.sample_scores_) >= 0.97
    hard = miner.hard_mask_
    assert (hard & against).sum() / against.sum() >= 0.75
    assert (hard & against).sum() / hard.sum() >= 0.9


def test_plain_training_forgets_what_was_hard(rows):
    X, y, against = rows
    miner = BAMHardSampleMiner(small_network(), amplification=0, stage_one_epochs=60, stage_two_epochs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # perhaps no row is hard
        miner.fit(X, y)
    assert (miner.hard_mask_ & against).sum() / against.sum() <= 0.15
    assert not miner.sample_scores_.any()


def test_stage_two_helps_the_worst_group(rows, mined):
    X, y, _ = rows
    held_out, test = draw(300, 0.5, 5), draw(2000, 0.5, 6)
    plain = small_network(max_epochs=20).fit(X, y)

    def monitor(estimator, X, y):
        return worst_group(estimator, *held_out)

    miner = BAMHardSampleMiner(small_network(), stage_one_epochs=60, stage_two_epochs=12, upweight=50, monitor=monitor)
    miner.fit(X, y)
    assert worst_group(miner, *test) > worst_group(plain, *test) + 0.25
    assert worst_group(mined[60], *test) < 0.3
    history = miner.history_
    assert history["stage"].tolist() == [1] * 60 + [2] * 12
    assert history["epoch"].tolist() == list(range(1, 73))
    assert history["monitor"].notna().tolist() == [False] * 60 + [True] * 12
    assert worst_group(miner, *held_out) == history["monitor"].max()


def test_table(rows, mined):
    X, y, _ = rows
    miner = mined[15]
    table = miner.sample_table_
    probabilities = miner.stage_one_.predict_proba(X)
    np.testing.assert_allclose(table["probability"], probabilities[np.arange(len(y)), y], rtol=1e-5)
    np.testing.assert_array_equal(table["prediction"], miner.stage_one_.predict(X))
    np.testing.assert_array_equal(table["label"], y)
    np.testing.assert_array_equal(table["hard"], table["prediction"] != y)
    np.testing.assert_array_equal(miner.easy_mask_, (table["probability"] >= 0.75) & ~table["hard"])
    np.testing.assert_array_equal(table["weight"], np.where(table["hard"], 20.0, 1.0))
    assert set(ALL_SCORES) <= set(table)
    np.testing.assert_allclose(table["aux"], np.linalg.norm(miner.aux_, axis=1), rtol=1e-6)
    assert table[list(ALL_SCORES)].notna().all().all()
    sure = table["bucket"] != "ambiguous"
    assert sure.tolist() == ((table["probability"] <= 0.25) | (table["probability"] >= 0.75)).tolist()
    expected = np.where(table["probability"] >= 0.5, np.where(y == 1, "TP", "TN"), np.where(y == 1, "FN", "FP"))
    assert table["bucket"][sure].tolist() == expected[sure].tolist()
    with_one = miner.history_["train_loss"].iloc[-1]
    assert with_one < table["loss"].mean()  # the rows' logits take part in training only


def test_rows_against_the_shortcut_lie_far_from_their_class(rows, mined):
    X, y, against = rows
    miner = mined[15]
    distance = miner.sample_table_["prototypicality"]
    features = miner.stage_one_.embed(X).astype(float)
    centroids = NearestCentroid().fit(features, y).centroids_
    np.testing.assert_allclose(distance, cosine_distances(features, centroids)[np.arange(len(y)), y], rtol=1e-6)
    assert roc_auc_score(against, distance) >= 0.9


class NoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(32, 2))

    def forward(self, x):
        return x.flatten(1) @ self.weight


def test_a_network_without_layers_to_take_features_from_has_no_prototypes(rows):
    X, y, _ = rows
    table = quick(estimator=small_network().set_params(module=NoLayers())).fit(X, y).sample_table_
    assert table["prototypicality"].isna().all()
    assert table["aux"].notna().all()


# -- choices -----------------------------------------------------------------------------------------------------------
def quick(**options):
    options = {"stage_one_epochs": 3, "stage_two_epochs": 2, "monitor": None, **options}
    return BAMHardSampleMiner(options.pop("estimator", small_network()), **options)


def test_selections(rows):
    X, y, _ = rows
    by_probability = quick(selection="probability", low=0.3).fit(X, y)
    np.testing.assert_array_equal(by_probability.hard_mask_, by_probability.sample_table_["probability"] <= 0.3)
    by_score = quick(selection="quantile", quantile=0.1, difficulty="el2n").fit(X, y)
    assert by_score.hard_mask_.sum() == 100
    np.testing.assert_array_equal(by_score.sample_scores_, by_score.sample_table_["el2n"])
    assert by_score.sample_scores_[by_score.hard_mask_].min() > by_score.sample_scores_[~by_score.hard_mask_].max()


def test_same_seed_same_result_and_nothing_is_changed(rows):
    X, y, _ = rows
    copies = X.copy(), y.copy()
    template = small_network()
    parameters = str(template.get_params())
    one = quick(estimator=template, monitor="worst_class").fit(X, y)
    two = quick(estimator=clone(template), monitor="worst_class").fit(X, y)
    pd.testing.assert_frame_equal(one.sample_table_, two.sample_table_)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(y, copies[1])
    assert str(template.get_params()) == parameters
    assert str(one.estimator_.get_params()) == str(one.stage_one_.get_params())
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.predict(X), one.predict(X))


def test_threads_that_read_do_not_matter(rows):
    X, y, _ = rows
    tables = [quick(estimator=small_network(n_threads=n)).fit(X, y).sample_table_ for n in (0, 2)]
    pd.testing.assert_frame_equal(*tables)


def test_stage_two_of_weight_one_is_training_on(rows):
    X, y, _ = rows
    miner = quick(upweight=1.0, amplification=0).fit(X, y)
    plain = small_network(max_epochs=2, warm_start=True)
    stage_one = quick(amplification=0, stage_two_epochs=0).fit(X, y).estimator_
    plain = stage_one.set_params(max_epochs=2, warm_start=True).fit(X, y)
    np.testing.assert_allclose(miner.predict_proba(X), plain.predict_proba(X), rtol=1e-4)


def test_fresh_stage_two_is_a_weighted_fit(rows):
    X, y, _ = rows
    miner = quick(continue_training=False).fit(X, y)
    plain = small_network(max_epochs=2).fit(X, y, sample_weight=miner.sample_weight_)
    np.testing.assert_allclose(miner.predict_proba(X), plain.predict_proba(X), rtol=1e-5)
    assert miner.history_["stage"].tolist() == [1, 1, 1, 2, 2]


def test_held_out_rows_and_rows_without_weight_have_no_scores(rows):
    X, y, _ = rows
    patients = np.arange(len(y)) // 4
    weight = np.where(np.arange(len(y)) < 40, 0.0, 2.0)
    miner = quick(monitor="worst_class", validation_fraction=0.25).fit(X, y, sample_weight=weight, groups=patients)
    table = miner.sample_table_
    held_out = table["held_out"].to_numpy()
    assert 200 <= held_out.sum() <= 280
    assert not set(patients[held_out]) & set(patients[~held_out])
    assert not held_out[:40].any()
    unscored = held_out | (weight == 0)
    np.testing.assert_array_equal(np.isnan(miner.sample_scores_), unscored)
    assert not (miner.hard_mask_ | miner.easy_mask_)[unscored].any()
    np.testing.assert_array_equal(miner.sample_weight_, np.where(unscored, 0, np.where(miner.hard_mask_, 40, 2)))
    # Absent rows change nothing.
    fewer = quick().fit(X[40:], y[40:])
    with_absent = quick().fit(X, y, sample_weight=(weight > 0).astype(float))
    np.testing.assert_allclose(fewer.sample_scores_, with_absent.sample_scores_[40:], rtol=1e-4)


def test_metadata_of_the_rows_stands_beside_the_scores():
    X, y, _ = draw(120, 0.9, 0)
    metadata = pd.DataFrame({"age": np.arange(120), "loss": "a"}, index=np.arange(120) + 7)
    bunch = ImageBunch(X[:, None, None], target=y, metadata=metadata)
    table = quick().fit(bunch).sample_table_
    assert table["age"].tolist() == list(range(120))
    assert (table["metadata_loss"] == "a").all()
    assert table["loss"].dtype == np.float64


@pytest.mark.parametrize("aux_shape", ["class", "scalar"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("target", ["text", "classes", "labels", "one logit"])
def test_kinds_of_target(target, loss, aux_shape):
    X, y, _ = draw(160, 0.9, 0)
    n_outputs = {"classes": 3, "labels": 3, "one logit": 1}.get(target, 2)
    y = {"text": np.array(["no", "yes"])[y], "classes": np.arange(160) % 3, "one logit": y}.get(target, y)
    if target == "labels":
        y = pd.DataFrame(np.random.default_rng(0).integers(0, 2, (160, 3)), columns=["a", "b", "c"])
    estimator = small_network(n_outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs do not teach random classes
        miner = quick(estimator=estimator, loss=loss, aux_shape=aux_shape, monitor="worst_class").fit(X, y)
    assert miner.predict(X).shape == np.shape(y)
    assert miner.score(X, y) >= 0
    trained = ~miner.sample_table_["held_out"]
    assert (miner.sample_scores_[trained] > 0).all()
    assert miner.aux_.shape == (160, n_outputs if aux_shape == "class" or target == "labels" else 1)
    names = {"text": {"TP", "TN", "FP", "FN"}, "one logit": {"TP", "TN", "FP", "FN"}}.get(target, {"easy", "hard"})
    assert set(miner.sample_table_["bucket"]) <= names | {"ambiguous"}


def test_images_and_pipelines():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    images = (rng.random((60, 12, 12)) * 255).astype(np.uint8)
    images[y == 1, :4] = 250
    y[:6] = 1 - y[:6]
    network = NeuralImageClassifier(SmallCNN(4, depth=1), batch_size=16, lr=0.05, normalize="channel", random_state=0)
    pipeline = make_pipeline(FunctionTransformer(), network)
    miner = quick(estimator=pipeline, stage_one_epochs=15, monitor="worst_class").fit(images, y)
    assert miner.estimator_.named_steps.keys() == miner.stage_one_.named_steps.keys()
    assert miner.embed(images).shape == (60, 64)
    assert miner.predict_proba(images).shape == (60, 2)


def test_search_over_both_stages_keeps_networks_of_the_first(tmp_path, monkeypatch):
    X, y, _ = draw(240, 0.9, 0)
    fits = []
    plain_fit = NeuralImageClassifier.fit

    def counting(self, *args, **kwargs):
        fits.append(type(self.criterion).__name__)
        return plain_fit(self, *args, **kwargs)

    monkeypatch.setattr(NeuralImageClassifier, "fit", counting)
    grid = {"amplification": [0.2, 0.6], "upweight": [2, 5, 10], "estimator__lr": [0.01]}
    tables = []
    for memory in (None, str(tmp_path)):
        fits.clear()
        search = GridSearchCV(quick(memory=memory), grid, cv=2).fit(X, y)
        tables.append(search.cv_results_["mean_test_score"])
        assert fits.count("AuxiliaryLogits") == (13 if memory is None else 5)
    np.testing.assert_array_equal(*tables)


def test_sampling_is_for_stage_two_only(rows):
    X, y, _ = rows
    weight = np.random.default_rng(0).choice([0.1, 1.0, 5.0], len(y))
    by_loss, by_sampling = (
        quick(estimator=small_network(weighting=weighting)).fit(X, y, sample_weight=weight)
        for weighting in ("loss", "sampling")
    )
    pd.testing.assert_frame_equal(by_loss.sample_table_, by_sampling.sample_table_)
    stages = [miner.history_.groupby("stage")["train_loss"].first() for miner in (by_loss, by_sampling)]
    assert stages[0][1] == stages[1][1]
    assert stages[0][2] != stages[1][2]
    assert by_sampling.stage_one_.weighting == by_sampling.estimator_.weighting == "sampling"


class Unreadable(RowSource):
    """Rows of which the first cannot be read."""

    def __init__(self, images):
        self.images = images
        self.shape, self.dtype = images.shape, images.dtype

    def _read(self, rows):
        if 0 in np.asarray(rows):
            raise OSError("the file is damaged")
        return self.images[rows]


def test_images_of_absent_rows_are_not_read():
    X, y, _ = draw(120, 0.9, 0)
    y[0] = 7  # nor has it to be of a known class
    weight = np.r_[0.0, np.ones(119)]
    miner = quick().fit(ImageBunch(Unreadable(X[:, None, None])), y, sample_weight=weight)
    table = miner.sample_table_
    assert table.loc[0, ["prediction", "probability", "bucket", "aux"]].isna().all()
    assert table.loc[1:, ["prediction", "probability", "bucket", "aux"]].notna().all(axis=None)
    assert miner.classes_.tolist() == [0, 1]


def test_share_of_the_largest_scores_with_ties():
    scores = np.r_[np.nan, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    assert np.flatnonzero(_largest(scores, 1 / 7)).tolist() == [7]
    assert np.flatnonzero(_largest(scores, 0.01)).tolist() == [7]
    assert np.flatnonzero(_largest(scores, 2 / 7)).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(_largest(scores, 0.99)).tolist() == [3, 4, 5, 6, 7]
    for constant in (np.ones(3), np.full(3, np.nan)):
        assert not _largest(constant, 0.5).any()


# -- what may go wrong -------------------------------------------------------------------------------------------------
def test_no_hard_rows():
    X = np.repeat([[-1.0], [1.0]], 40, axis=0) * np.ones(32)
    y = np.repeat([0, 1], 40)
    with pytest.warns(UserWarning, match="no row is hard by selection='error'"):
        miner = quick(amplification=0, stage_one_epochs=30).fit(X, y)
    assert not miner.hard_mask_.any()
    assert (miner.sample_weight_ == 1).all()
    assert miner.score(X, y) == 1


def test_too_many_hard_rows():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match=r"of 90 rows are hard: the network of stage 1 has learned too little"):
        quick(estimator=small_network(3), stage_one_epochs=1).fit(rng.normal(size=(90, 32)), np.arange(90) % 3)


def test_a_network_that_gives_one_class():
    y = np.r_[np.zeros(80, dtype=int), np.ones(20, dtype=int)]
    with pytest.warns(UserWarning, match="what it finds hard is a class"):
        quick(stage_one_epochs=2).fit(np.random.default_rng(0).normal(size=(100, 32)), y)


def test_interrupted_stage_one_keeps_the_scores(tmp_path, monkeypatch, rows):
    X, y, _ = rows
    plain_step, steps = ClassifierNet.train_step_single, []

    def press(self, batch, **kwargs):
        steps.append(1)
        if len(steps) == 40:
            raise KeyboardInterrupt
        return plain_step(self, batch, **kwargs)

    monkeypatch.setattr(ClassifierNet, "train_step_single", press)
    with pytest.warns(UserWarning, match="training was interrupted in epoch 3"):
        miner = quick(stage_one_epochs=10, memory=str(tmp_path)).fit(X, y)
    monkeypatch.undo()
    assert miner.history_["stage"].tolist() == [1, 1]
    assert miner.sample_table_["aux"].notna().all()
    assert miner.predict(X).shape == y.shape
    whole = quick(stage_one_epochs=10, memory=str(tmp_path)).fit(X, y)
    assert (whole.history_["stage"] == 1).sum() == 10  # half a training was not kept


def test_interrupted_monitor(rows):
    X, y, _ = rows
    scored = []

    def monitor(estimator, X, y):
        scored.append(estimator.score(X, y))
        if len(scored) == 3:
            raise KeyboardInterrupt
        return scored[-1]

    with pytest.warns(UserWarning, match="training was interrupted in epoch 3"):
        miner = quick(stage_two_epochs=9, monitor=monitor).fit(X, y)
    assert miner.history_["stage"].tolist() == [1, 1, 1, 2, 2, 2]
    assert miner.history_["monitor"].tolist()[3:5] == scored[:2]
    held_out = miner.sample_table_["held_out"]
    assert miner.score(X[held_out], y[held_out]) == max(scored[:2])
    assert miner.estimator_.net_.interrupted


def test_callbacks_may_stop_both_stages(rows):
    X, y, _ = rows
    callbacks = [EarlyStopping(monitor="train_loss", patience=2, threshold=10)]
    miner = quick(estimator=small_network(callbacks=callbacks), stage_one_epochs=9, stage_two_epochs=9)
    miner.set_params(monitor="worst_class").fit(X, y)
    assert miner.history_["stage"].tolist() == [1, 1, 1, 2, 2, 2]
    assert miner.history_["monitor"].notna().tolist() == [False] * 3 + [True] * 3


class Rates(Callback):
    """Notes the learning rate of every epoch, in the class because the classifier takes copies."""

    seen: list = []

    def on_epoch_begin(self, net, **kwargs):
        self.seen.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("continue_training", [True, False])
def test_schedules_start_anew_in_stage_two(rows, continue_training):
    X, y, _ = rows
    Rates.seen.clear()
    network = small_network(callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5), Rates()])
    quick(estimator=network, stage_two_lr=0.03, continue_training=continue_training).fit(X, y)
    np.testing.assert_allclose(Rates.seen, [0.01, 0.005, 0.0025, 0.03, 0.015])


def test_monitor_that_gives_no_number(rows):
    X, y, _ = rows
    values = iter([np.nan, 0.5, np.nan])
    miner = quick(stage_two_epochs=3, monitor=lambda *arguments: next(values)).fit(X, y)
    kept, last = miner.predict_proba(X), quick(stage_two_epochs=3)
    with pytest.warns(UserWarning, match="monitor gave no number that can be compared after any of 3 epochs"):
        last.set_params(monitor=lambda *arguments: np.nan).fit(X, y)
    assert not np.allclose(kept, last.predict_proba(X))
    with pytest.raises(ValueError, match="monitor must give one number per epoch, but gave None"):
        quick(monitor=lambda *arguments: None).fit(X, y)


def test_a_class_that_must_be_held_out():
    X, y, _ = draw(60, 0.9, 0)
    message = r"class 0 has no row left to train the network on: lower validation_fraction \(now 0.2\), or set monitor"
    with (
        pytest.warns(UserWarning, match="monitor: too few rows or groups"),
        pytest.raises(ValueError, match=message),
    ):
        quick(estimator=small_network(random_state=1), monitor="worst_class").fit(X, y, groups=y)


def test_scores_that_are_all_the_same(rows):
    X, y, _ = rows
    with pytest.warns(UserWarning, match="no row is hard by selection='quantile', .* all have the same aux. Choose"):
        quick(amplification=0, selection="quantile").fit(X, y)
    with pytest.warns(UserWarning, match="rows are hard, many of the same correctness. Choose another difficulty"):
        quick(difficulty="correctness", selection="quantile", quantile=0.001, stage_one_epochs=1).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0.8}, r"low=0.8 must be smaller than high=0.75"),
        ({"loss": "squared", "amplification": 1.0}, "lets the rows' logits diverge"),
        ({"estimator": small_network(criterion=CrossEntropy())}, "has a criterion of its own, CrossEntropy"),
        ({"upweight": 0}, "'upweight' parameter"),
        ({"difficulty": "hardness"}, "'difficulty' parameter"),
    ],
)
def test_bad_parameters(options, message):
    X, y, _ = draw(40, 0.9, 0)
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(X, y)


def test_bad_groups():
    X, y, _ = draw(40, 0.9, 0)
    with pytest.raises(ValueError, match="groups has 39 rows, but X has 40"):
        quick(monitor="worst_class").fit(X, y, groups=np.arange(39))
    groups = np.arange(40.0)
    groups[7] = np.nan
    with pytest.raises(ValueError, match="row 7 has no group"):
        quick(monitor="worst_class").fit(X, y, groups=groups)


# -- searches by the worst subgroup ------------------------------------------------------------------------------------
GRID = {"amplification": [0.2, 0.6], "upweight": [2, 20], "estimator__lr": [0.01, 0.03]}


def of_patients(n=120):
    X, y, against = draw(n, 0.8, 0)
    return X, y, np.where(against, "against", "with"), np.arange(n) // 3


@pytest.fixture(scope="module")
def searched():
    """By bunch, in one process."""
    X, y, aligned, patients = of_patients()
    bunch = ImageBunch(X[:, None, None], metadata=pd.DataFrame({"shortcut": aligned}), groups=patients)
    search = GridSearchCV(
        quick(monitor="worst_class"),
        GRID,
        scoring=make_group_scorer("shortcut"),
        cv=GroupKFold(2),
        error_score="raise",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some candidates learn too little
        return bunch, search.fit(bunch, y, groups=patients)


def same_search(one, two):
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])
    assert one.best_params_ == two.best_params_
    np.testing.assert_array_equal(one.best_estimator_.sample_scores_, two.best_estimator_.sample_scores_)
    np.testing.assert_array_equal(one.best_estimator_.sample_weight_, two.best_estimator_.sample_weight_)


def test_search_in_two_processes_and_by_memory_is_the_same(searched, tmp_path):
    bunch, one = searched
    _, y, _, patients = of_patients()
    assert len(np.unique(one.cv_results_["mean_test_score"])) > 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two = clone(one).set_params(n_jobs=2, estimator__memory=str(tmp_path)).fit(bunch, y, groups=patients)
    same_search(one, two)
    # The score is that of rows of other patients, in the worst subgroup.
    train, test = next(GroupKFold(2).split(bunch, y, patients))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = clone(one.best_estimator_).fit(bunch[train], y[train])
    held_out = again.sample_table_["held_out"].to_numpy()
    assert not set(patients[train][held_out]) & set(patients[train][~held_out])
    subgroups = make_subgroups(y[test], of_patients()[2][test])
    expected = subgroup_accuracy(y[test], again.predict(bunch[test]), subgroups=subgroups)
    assert one.cv_results_["split0_test_score"][one.best_index_] == expected


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_search_with_routed_subgroups_and_patients_is_the_same(searched, n_jobs):
    _, one = searched
    X, y, aligned, patients = of_patients()
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(
            quick(monitor="worst_class").set_fit_request(groups=True),
            GRID,
            scoring=make_group_scorer().set_score_request(subgroups=True),
            cv=GroupKFold(2),
            n_jobs=n_jobs,
            error_score="raise",
        )
        search.fit(X, y, groups=patients, subgroups=aligned)
        same_search(one, search)
