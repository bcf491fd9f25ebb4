"""Choosing rows inside pipelines and searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.mitigation import BAMHardSampleMiner, HardSampleSelector, JTTClassifier, LfFClassifier
from sklearn_shortcuts.neural import NeuralImageClassifier

from .planted_groups import draw, small_network, worst_group

N = 300


@pytest.fixture(scope="module")
def rows():
    """Bunch with patients and a column of scores, classes, and which rows are against the shortcut."""
    X, y, against = draw(N, 0.9, 0)
    metadata = pd.DataFrame({"doubt": np.random.default_rng(3).random(N)}, index=np.arange(N) + 5)
    return ImageBunch(X[:, None, None], target=y, groups=np.arange(N) // 2, metadata=metadata), y, against


def quick_miner(**options):
    return BAMHardSampleMiner(small_network(), **{"stage_one_epochs": 8, **options})


def known(scores, **options):
    return HardSampleSelector(scores, **options)


# -- what is chosen ----------------------------------------------------------------------------------------------------
def test_hard_rows_are_those_against_the_shortcut(rows):
    bunch, _, against = rows
    miner = quick_miner(stage_one_epochs=15)
    selector = HardSampleSelector(miner, selection="top_k", k=int(against.sum())).fit(bunch)
    assert against[selector.selected_].mean() > 0.8
    easy = clone(selector).set_params(keep="easy").fit(bunch)
    assert not against[easy.selected_].any()
    scored = clone(miner).set_params(stage_two_epochs=0).fit(bunch)
    np.testing.assert_array_equal(selector.sample_scores_, scored.sample_scores_)
    assert len(selector.miner_.history_) == 15  # no second stage
    assert not selector.miner_.sample_table_["held_out"].any()
    assert vars(miner).keys() == vars(quick_miner()).keys()  # the given one is left as it was


@pytest.mark.parametrize("stratify", [True, False])
def test_classes_have_the_same_share(stratify):
    y = np.r_[np.zeros(80, dtype=int), np.ones(20, dtype=int)]
    scores = np.arange(100.0)  # the rarer class is harder
    selector = known(scores, quantile=0.2, stratify_by_class=stratify).fit(np.zeros((100, 1)), y)
    chosen = [*range(64, 80), *range(96, 100)] if stratify else list(range(80, 100))
    assert selector.get_support(indices=True).tolist() == chosen
    assert selector.sample_indices_[0] == (79 if stratify else 99)
    assert sorted(selector.sample_indices_) == chosen
    np.testing.assert_array_equal(selector.get_support(), np.isin(np.arange(100), chosen))
    by_number = known(scores, selection="top_k", k=20, stratify_by_class=stratify).fit(np.zeros((100, 1)), y)
    np.testing.assert_array_equal(by_number.selected_, selector.selected_)


def test_several_labels_go_by_the_rarest_one():
    y = np.zeros((100, 2), dtype=int)
    y[:50, 0], y[:10, 1] = 1, 1
    selector = known(np.arange(100.0), quantile=0.1).fit(np.zeros((100, 1)), y)
    assert selector.get_support(indices=True).tolist() == [9, 46, 47, 48, 49, 95, 96, 97, 98, 99]


@pytest.mark.parametrize(
    ("keep", "threshold", "chosen"),
    [("hard", 7, [7, 8, 9]), ("easy", 1.0, [0, 1]), ("ambiguous", (4, 6.0), [4, 5, 6])],
)
def test_thresholds(keep, threshold, chosen):
    selector = known(list(range(10)), keep=keep, selection="threshold", threshold=threshold)
    assert selector.fit(np.zeros((10, 1)), np.arange(10) % 2).get_support(indices=True).tolist() == chosen


def test_weights():
    y, given = np.arange(8) % 2, np.array([1.0, 1, 2, 0, 1, 1, 1, 3])
    scores = np.array([0, 1, 2, 100, 4, 5, 6, np.nan])
    options = {"stratify_by_class": False, "upweight": 5, "rest_weight": 0.5}
    X = np.zeros((8, 1))
    step = known(scores, quantile=0.3, **options).fit(X, y, sample_weight=given)
    assert step.get_support(indices=True).tolist() == [5, 6]  # a third of the six rows that have a weight and a score
    np.testing.assert_array_equal(step.sample_weight_, [0.5, 0.5, 1, 0, 0.5, 5, 5, 1.5])
    np.testing.assert_array_equal(np.isnan(step.sample_scores_), [False] * 3 + [True] + [False] * 3 + [True])
    rank = known(scores, quantile=0.3, weighting="rank", **options).fit(X, y, sample_weight=given)
    np.testing.assert_allclose(rank.sample_weight_, given * [0.5, 1.4, 2.3, 0, 3.2, 4.1, 5, 0.5])
    alone = known(scores, quantile=0.3, **{**options, "rest_weight": 0}).fit(X, y)
    assert (alone.sample_weight_ > 0).tolist() == alone.selected_.tolist()
    others = known(scores, quantile=0.3, **{**options, "upweight": 0}).fit(X, y)
    assert (others.sample_weight_ > 0).tolist() == (~others.selected_).tolist()


# -- where scores come from --------------------------------------------------------------------------------------------
def test_sources_agree(rows):
    bunch, y, _ = rows
    miner = quick_miner(vog_checkpoints=2, difficulty="vog", stage_two_epochs=0).fit(bunch)
    for difficulty in ("aux", "el2n", "prototypicality", "vog"):
        scores = miner.sample_table_[difficulty]
        frozen = HardSampleSelector(FrozenEstimator(miner), difficulty=difficulty).fit(bunch)
        fitted = HardSampleSelector(clone(miner), difficulty=difficulty).fit(bunch)
        as_array, as_series = known(scores.to_numpy()).fit(bunch), known(scores).fit(np.asarray(bunch), y)
        column = known("hardness").fit(bunch.with_fields(metadata=pd.DataFrame({"hardness": scores})))
        field = known("hardness").fit(bunch.with_fields(hardness=scores.to_numpy()))
        for other in (fitted, as_array, as_series, column, field):
            np.testing.assert_array_equal(other.sample_scores_, scores)
            np.testing.assert_array_equal(other.sample_weight_, frozen.sample_weight_)
            assert hasattr(other, "miner_") == (other is fitted)
    default = HardSampleSelector(FrozenEstimator(miner), difficulty=None).fit(bunch)
    np.testing.assert_array_equal(default.sample_scores_, miner.sample_table_["vog"])


def test_other_miners(rows):
    bunch, _, against = rows
    jtt = JTTClassifier(small_network(), stage_one_epochs=15, stage_two_epochs=1, monitor=None)
    lff = LfFClassifier(small_network(max_epochs=20))
    for miner, difficulty in ((jtt, "loss"), (lff, None)):
        selector = HardSampleSelector(miner, difficulty=difficulty, quantile=float(against.mean())).fit(bunch)
        assert against[selector.selected_].mean() > 3 * against.mean()
    with pytest.raises(ValueError, match="difficulty='aux' is no column of the JTTClassifier's sample_table_"):
        HardSampleSelector(jtt).fit(bunch)
    with pytest.raises(ValueError, match="has no sample_table_ with the score 'aux'; set difficulty=None"):
        HardSampleSelector(lff).fit(bunch)
    with pytest.raises(ValueError, match="JTTClassifier has no sample_scores_; set difficulty to a column"):
        HardSampleSelector(jtt, difficulty=None).fit(bunch)


# -- in pipelines and searches -----------------------------------------------------------------------------------------
def test_a_pipeline_trains_with_the_weights(rows):
    bunch, y, _ = rows
    pipeline = Pipeline([("selector", HardSampleSelector(quick_miner())), ("network", small_network())])
    pipeline.fit(bunch, y)
    selector = pipeline["selector"]
    plain = small_network().fit(bunch, y, sample_weight=selector.sample_weight_)
    np.testing.assert_array_equal(pipeline.predict_proba(bunch), plain.predict_proba(bunch))
    attached = clone(selector).fit_transform(bunch, y)
    np.testing.assert_array_equal(attached.sample_weight, selector.sample_weight_)
    assert "sample_weight" not in bunch.fields
    assert selector.transform(bunch) is bunch  # to predict, and by hand after fit, nothing is attached
    of_images = clone(selector).fit_transform(np.asarray(bunch), y)
    np.testing.assert_array_equal(of_images.sample_weight, selector.sample_weight_)
    with pytest.warns(UserWarning, match="HardSampleSelector: a table cannot carry the weights"):
        same = clone(selector).fit_transform(np.asarray(bunch)[:, 0, 0], y)
    np.testing.assert_array_equal(same, np.asarray(bunch)[:, 0, 0])


def test_the_worst_group_gains():
    X, y, _ = draw(1000, 0.95, 0)
    test = draw(2000, 0.5, 6)
    bunch = ImageBunch(X[:, None, None])
    miner = BAMHardSampleMiner(small_network(), stage_one_epochs=15)
    network = small_network(max_epochs=20)
    pipeline = Pipeline([("selector", HardSampleSelector(miner, quantile=0.05)), ("network", network)])
    tests = test[0][:, None, None], *test[1:]
    plain = clone(pipeline).set_params(selector="passthrough").fit(bunch, y)
    assert worst_group(pipeline.fit(bunch, y), *tests) > worst_group(plain, *tests) + 0.2


def test_search_in_two_processes_trains_the_miner_once_per_fold(rows, tmp_path, monkeypatch):
    bunch, y, _ = rows
    miner = quick_miner(stage_one_epochs=3, memory=str(tmp_path))
    pipeline = Pipeline([("selector", HardSampleSelector(miner)), ("network", small_network(max_epochs=3))])
    grid = [
        {"selector__quantile": [0.05, 0.2], "selector__upweight": [2, 10]},
        {"selector__keep": ["easy"], "selector__rest_weight": [0, 1]},
        {"selector": ["passthrough"]},
    ]
    fits, plain_fit = [], NeuralImageClassifier.fit

    def counting(self, *args, **kwargs):
        fits.append(type(self.criterion).__name__)
        return plain_fit(self, *args, **kwargs)

    options = {"cv": 2, "refit": False, "error_score": "raise"}
    with monkeypatch.context() as patch:
        patch.setattr(NeuralImageClassifier, "fit", counting)
        one = GridSearchCV(pipeline, grid, **options).fit(bunch, y).cv_results_
    assert (fits.count("AuxiliaryLogits"), fits.count("NoneType")) == (2, 14)
    assert len(np.unique(one["mean_test_score"])) > 3
    two = GridSearchCV(pipeline, grid, n_jobs=2, **options).fit(bunch, y).cv_results_
    np.testing.assert_array_equal(one["mean_test_score"], two["mean_test_score"])
    plain = cross_validate(small_network(max_epochs=3), bunch, y, cv=2)["test_score"].mean()
    assert one["mean_test_score"][-1] == plain


def test_scores_in_the_metadata_go_into_the_folds(rows):
    bunch, y, _ = rows
    pipeline = Pipeline([("selector", known("doubt", quantile=0.1)), ("network", small_network(max_epochs=1))])
    result = cross_validate(pipeline, bunch, y, cv=3, return_estimator=True, return_indices=True, error_score="raise")
    for fitted, train in zip(result["estimator"], result["indices"]["train"]):
        scores = bunch.metadata["doubt"].to_numpy()[train]
        np.testing.assert_array_equal(fitted["selector"].sample_scores_, scores)
        assert fitted["selector"].selected_.sum() == 20
    as_array = clone(pipeline).set_params(selector__miner=bunch.metadata["doubt"])
    with pytest.raises(ValueError, match="has scores of 300 rows, but X has 200; in a cross-validation"):
        cross_validate(as_array, bunch, y, cv=3, error_score="raise")


def test_clone_and_pickle(rows):
    bunch, y, _ = rows
    scores = np.arange(N, dtype=float)
    scores.setflags(write=False)
    selector = known(scores).fit(bunch)
    again = clone(selector).fit(bunch, y)
    np.testing.assert_array_equal(again.sample_weight_, selector.sample_weight_)
    loaded = pickle.loads(pickle.dumps(selector))
    np.testing.assert_array_equal(loaded.get_support(), selector.get_support())


# -- what may go wrong -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": "hardness"}, "difficulty='hardness' is none of"),
        ({"difficulty": "vog"}, "difficulty='vog' needs a miner with vog_checkpoints"),
        ({"miner": np.arange(5)}, "miner has scores of 5 rows, but X has 300"),
        ({"miner": ["a"] * N}, "miner must hold numbers"),
        ({"miner": np.full(N, np.nan)}, "no row of positive weight has a score"),
        ({"miner": "doubts"}, r"miner='doubts' is neither a field of the rows nor .* and the columns \['doubt'\]"),
        ({"miner": "doubt", "selection": "threshold"}, "needs one score, but threshold=None"),
        (
            {"miner": "doubt", "selection": "threshold", "keep": "ambiguous", "threshold": (2, 1)},
            "needs two scores, the smaller one first",
        ),
        (
            {"miner": "doubt", "selection": "threshold", "threshold": 2, "rest_weight": 0},
            "all weights would be 0: 0 rows are chosen, upweight=20.0, rest_weight=0",
        ),
        ({"miner": "doubt", "selection": "top_k", "k": 301}, "k=301 is more than the 300 rows with a score"),
        ({"quantile": 0}, "'quantile' parameter"),
        ({"miner": "doubt", "quantile": 1.0, "upweight": 0}, "all weights would be 0: 300 rows are chosen"),
        ({"upweight": -1}, "'upweight' parameter"),
    ],
)
@pytest.mark.filterwarnings("ignore:no row is hard by threshold:UserWarning")
def test_bad_choices(rows, options, message):
    selector = HardSampleSelector(**options)
    with pytest.raises(ValueError, match=message):
        selector.fit(rows[0])
    assert not selector.__sklearn_is_fitted__()


def test_names_need_a_bunch(rows):
    with pytest.raises(ValueError, match="miner='doubt' names a column or field of an ImageBunch, but X is none"):
        known("doubt").fit(np.asarray(rows[0]), rows[1])


def test_nothing_beyond_the_threshold_is_said(rows):
    with pytest.warns(UserWarning, match="no row is hard by threshold=2: scores are from 0"):
        selector = known("doubt", selection="threshold", threshold=2).fit(rows[0])
    assert not selector.selected_.any()
    assert (selector.sample_weight_ == 1).all()


def test_a_frozen_miner_wants_its_own_rows(rows):
    bunch, _, _ = rows
    miner = FrozenEstimator(quick_miner(stage_two_epochs=0).fit(bunch))
    with pytest.raises(ValueError, match="has scores of 300 rows, but X has 299"):
        HardSampleSelector(miner).fit(bunch[1:])
    with pytest.raises(ValueError, match="the frozen miner was fitted on rows with other labels than these"):
        HardSampleSelector(miner).fit(bunch[::-1])
