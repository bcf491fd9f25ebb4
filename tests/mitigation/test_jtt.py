"""Training twice."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.audit import enrichment_table
from sklearn_shortcuts.mitigation import GroupDROClassifier, JTTClassifier
from sklearn_shortcuts.neural import CrossEntropy

from .planted_groups import draw, small_network, worst_group


@pytest.mark.parametrize("seed", [0, 1])
def test_worst_group_is_better_than_by_plain_training(seed):
    X, y, against = draw(1000, 0.95, seed)
    test = draw(2000, 0.5, 10 + seed)
    network = small_network(max_epochs=12, random_state=seed)
    plain = clone(network).fit(X, y)
    model = JTTClassifier(network, stage_one_epochs=6, monitor=None).fit(X, y)
    assert worst_group(model, *test) > worst_group(plain, *test) + 0.2
    hard = model.hard_mask_
    assert (hard & against).sum() / against.sum() > 0.8
    assert (hard & against).sum() / hard.sum() > 0.8


def test_errors_weigh_one_more_than_their_copies():
    X, y, _ = draw(300, 0.9, 0)
    network = small_network(max_epochs=7)
    model = JTTClassifier(network, upweight=4, monitor=None, stage_two_epochs=2).fit(X, y)
    first = clone(network).set_params(max_epochs=3).fit(X, y)  # half of seven epochs
    np.testing.assert_allclose(model.stage_one_.predict_proba(X), first.predict_proba(X), rtol=1e-5)
    wrong = first.predict(X) != y
    np.testing.assert_array_equal(model.hard_mask_, wrong)
    assert 0 < wrong.sum() < 150
    np.testing.assert_array_equal(model.sample_weight_, np.where(wrong, 5.0, 1.0))
    second = clone(network).set_params(max_epochs=2).fit(X, y, sample_weight=np.where(wrong, 5.0, 1.0))
    np.testing.assert_allclose(model.predict_proba(X), second.predict_proba(X), rtol=1e-5)
    assert model.history_["stage"].tolist() == [1, 1, 1, 2, 2]
    assert not {"aux", "aux_margin"} & set(model.sample_table_)
    np.testing.assert_array_equal(model.sample_table_["hard"], wrong)


def test_no_copies_is_plain_training_after_the_first():
    X, y, _ = draw(200, 0.9, 0)
    model = JTTClassifier(small_network(max_epochs=2), upweight=0, monitor=None).fit(X, y)
    plain = small_network(max_epochs=2).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=1e-5)


def test_result_is_an_ordinary_classifier_and_nothing_is_changed():
    X, y, against = draw(200, 0.9, 0)
    copies = X.copy(), y.copy()
    network = small_network(max_epochs=4)
    before = str(network.get_params())
    models = [JTTClassifier(network).fit(X, y, groups=np.arange(200) // 2) for _ in range(2)]
    np.testing.assert_array_equal(*[model.predict_proba(X) for model in models])
    pd.testing.assert_frame_equal(*[model.sample_table_ for model in models])
    model = models[0]
    assert str(model.estimator_.get_params()) == before == str(network.get_params())
    assert not hasattr(network, "net_")
    assert model.history_["monitor"].notna().sum() == 4
    assert 0 < model.sample_table_["held_out"].sum() < 100
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(y, copies[1])
    # What others do with what the miner finds, they do with these errors too.
    table = enrichment_table(model.sample_table_, pd.DataFrame({"against": against}))
    assert len(table)
    robust = GroupDROClassifier(small_network(max_epochs=1)).fit(X, y, subgroups=model)
    assert robust.group_sizes_.sum() == 200


@pytest.mark.parametrize("target", ["text", "classes", "labels"])
def test_kinds_of_target(target):
    X, y, _ = draw(120, 0.9, 0)
    n_outputs = 2 if target == "text" else 3
    y = np.array(["no", "yes"])[y] if target == "text" else np.arange(120) % 3
    if target == "labels":
        y = pd.DataFrame(np.random.default_rng(0).integers(0, 2, (120, 3)), columns=["a", "b", "c"])
    pipeline = make_pipeline(FunctionTransformer(), small_network(n_outputs, max_epochs=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not teach random classes
        model = JTTClassifier(pipeline).fit(X, y)
    assert model.predict(X).shape == np.shape(y)
    assert model.n_features_in_ == 32


def test_search_over_weights_keeps_first_networks(tmp_path):
    X, y, _ = draw(200, 0.9, 0)
    model = JTTClassifier(small_network(max_epochs=4), monitor=None, memory=str(tmp_path))
    search = GridSearchCV(model, {"upweight": [2, 20]}, cv=2, scoring="accuracy").fit(X, y)
    assert len(list(tmp_path.rglob("output.pkl"))) == 3  # two folds, and all rows
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_first_training_that_fits_all_rows():
    X = np.repeat([[-1.0], [1.0]], 40, axis=0) * np.ones(32)
    y = np.repeat([0, 1], 40)
    with pytest.warns(UserWarning, match=r"fits all rows. Lower stage_one_epochs \(now 30\)$"):
        JTTClassifier(small_network(), stage_one_epochs=30, monitor=None).fit(X, y)


def test_first_training_that_has_learned_nothing():
    X = np.random.default_rng(0).normal(size=(90, 32))
    with pytest.warns(UserWarning, match=r"too little to tell. Raise stage_one_epochs \(now 1\) or lr$"):
        JTTClassifier(small_network(3), stage_one_epochs=1, monitor=None).fit(X, np.arange(90) % 3)


def test_bad_input():
    X, y, _ = draw(40, 0.7, 0)
    with pytest.raises(ValueError, match="own, CrossEntropy: JTTClassifier chooses it"):
        JTTClassifier(small_network(criterion=CrossEntropy())).fit(X, y)
    with pytest.raises(ValueError, match="must be a NeuralImageClassifier or a Pipeline"):
        JTTClassifier(LogisticRegression()).fit(X, y)
    for options in ({"upweight": -1}, {"stage_one_epochs": 0}, {"stage_two_epochs": 0}, {"monitor": "loss"}):
        with pytest.raises(ValueError, match=f"'{next(iter(options))}' parameter of JTTClassifier"):
            JTTClassifier(small_network(), **options).fit(X, y)
    model = JTTClassifier(small_network())
    with pytest.raises(ValueError, match="groups has 39 rows, but X has 40"):
        model.fit(X, y, groups=np.arange(39))
    with pytest.raises(NotFittedError):
        model.predict(X)
