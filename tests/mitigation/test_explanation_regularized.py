"""The meta-estimator: what is trained, from where, with which masks, and what it tells."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklearn_shortcuts.metrics import make_counterfactual_scorer
from sklearn_shortcuts.mitigation import (
    CounterexampleAugmentation,
    ExemplarTripletPenalty,
    ExplanationRegularizedClassifier,
    InputGradientPenalty,
)
from sklearn_shortcuts.mitigation._penalty_names import PENALTY_NAMES, resolve_penalty
from sklearn_shortcuts.neural import NeuralImageClassifier, Penalty, RandomGeometry, SmallCNN
from sklearn_shortcuts.preprocessing import ROIMasker

from .decoys import Constant, InputGradients, decoys, network, weights_of


def regularized(**parameters):
    options = {"penalty": "counterexamples", "estimator": network(), **parameters}
    return ExplanationRegularizedClassifier(options.pop("estimator"), **options)


@pytest.fixture(autouse=True)
def nothing_seen():
    Constant.seen.clear()


# -- what it does ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", ["counterexamples", "rrr"])
@pytest.mark.parametrize("refine", [True, False])
def test_the_shortcut_is_unlearned(penalty, refine):
    train, test = decoys(192), decoys(192, seed=1, told=np.random.default_rng(1).integers(0, 2, 192))
    estimator = network(module=SmallCNN(width=6, depth=1), max_epochs=8)
    plain = clone(estimator).fit(train)
    model = regularized(estimator=estimator, penalty=penalty, refine=refine).fit(train)
    assert plain.score(test, test.target) < 0.75
    assert model.score(test, test.target) > 0.9
    table = model.counterfactuals_
    assert table.index.tolist() == (["unrefined", "refined"] if refine else ["regularized"])
    assert table["region_swap_accuracy"].iloc[-1] > 0.9 > table["flip_rate"].iloc[-1] + 0.75


@pytest.mark.parametrize(("penalty", "strength"), [("counterexamples", 1.0), ("rbr", 0.01), ("exbl", 3.0)])
def test_strengths_that_penalties_bring_along(penalty, strength):
    model = regularized(penalty=penalty, estimator=network(module=SmallCNN(width=4, depth=1), max_epochs=2))
    assert model.fit(decoys(64)).lambda_value_ == strength


def test_lambda_zero_is_training_on_with_the_same_random_numbers():
    bunch = decoys(48)
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 2))
    estimator = network(module=module, weight_decay=0.01)
    model = regularized(estimator=estimator, lambda_=0, gradient_clip=None, refine_lr=0.005, refine_epochs=3)
    model.fit(bunch)
    peer = clone(estimator).fit(bunch)
    peer.set_params(warm_start=True, lr=0.005, max_epochs=3, weight_decay=0.010001)  # a new optimizer, as refining has
    peer.fit(bunch)
    np.testing.assert_allclose(weights_of(model.estimator_), weights_of(peer), atol=1e-6)
    # A penalty that has no gradient, but draws random numbers, changes nothing.
    other = clone(model).set_params(penalty=Constant(draws=5), lambda_=1.0).fit(bunch)
    np.testing.assert_array_equal(weights_of(other.estimator_), weights_of(model.estimator_))
    assert (other.history_["train_criterion"] == model.history_["train_criterion"]).all()


def test_gradient_clip_bounds_the_step():
    bunch = decoys(48)
    estimator = network(optimizer="sgd", momentum=0.0, lr=1.0, batch_size=48)
    unrefined = clone(estimator).fit(bunch)
    options = {"warm_start_from": unrefined, "lambda_": 100.0, "refine_lr": 0.1, "refine_epochs": 1}
    parameters = [name for name, _ in unrefined.module_.named_parameters()]

    def step(gradient_clip):
        model = ExplanationRegularizedClassifier(penalty="rrr", gradient_clip=gradient_clip, **options).fit(bunch)
        before, after = unrefined.module_.state_dict(), model.estimator_.module_.state_dict()
        return np.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in parameters))

    assert step(0.5) == pytest.approx(0.1 * 0.5, rel=1e-3)
    assert step(None) > 0.1


def test_strength_scale_and_schedule_reach_the_loss():
    bunch = decoys(40, masked=range(10))
    model = regularized(penalty=Constant(value=2.0), lambda_=3.0, refine_epochs=4, warmup_epochs=1, ramp_epochs=1)
    history = model.fit(bunch).history_
    assert history["phase"].tolist() == ["unrefined"] * 2 + ["refined"] * 4
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["strength"].tolist() == [0, 0, 0, 1.5, 3, 3]
    # Of the penalty's mean over annotated rows.
    np.testing.assert_allclose(history["train_penalty"], 2.0 * history["strength"], rtol=0.3)
    np.testing.assert_allclose(history["train_criterion"] + history["train_penalty"], history["train_loss"], rtol=1e-5)
    assert model.lambda_value_ == 3.0


def test_rows_without_weight_do_not_count_as_annotated():
    bunch = decoys(40, masked=range(20)).with_fields(sample_weight=np.repeat([0.0, 1.0], [10, 30]))
    model = regularized(penalty=Constant(value=1.0), lambda_=1.0, estimator=network(batch_size=30)).fit(bunch)
    assert model.history_["train_penalty"].iloc[-1] == pytest.approx(1.0)
    assert model.counterfactuals_["n_rows"].tolist() == [10, 10]
    with pytest.raises(ValueError, match="all rows with a mask have the weight 0"):
        regularized(penalty=Constant()).fit(decoys(40, masked=range(5)), sample_weight=np.repeat([0.0, 1.0], [5, 35]))


def test_the_penalty_is_a_mean_over_annotated_rows_whatever_the_weights_of_the_classes():
    bunch = decoys(40, masked=range(10)).with_fields(target=np.repeat([1, 0], [8, 32]))
    for options in ({"refine": True}, {"refine": False}):
        estimator = network(batch_size=40, max_epochs=1, class_weight="balanced")
        model = regularized(penalty=Constant(value=1.0), lambda_=1.0, estimator=estimator, **options).fit(bunch)
        assert model.history_["train_penalty"].iloc[-1] == pytest.approx(1.0)


def test_early_stopping_does_not_bring_back_the_network_without_penalty():
    bunch = decoys(96)
    estimator = network(module=SmallCNN(width=6, depth=1), max_epochs=12, early_stopping=True, patience=3)
    model = regularized(penalty="rrr", refine=False, estimator=estimator).fit(bunch)
    assert len(model.history_) == 12
    assert model.counterfactuals_.loc["regularized", "region_swap_accuracy"] > 0.8


def test_an_interruption_in_the_first_epoch_with_penalty():
    class Interrupt(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    model = regularized(estimator=network(callbacks=[Interrupt()])).fit(decoys(32))
    assert model.history_["phase"].tolist() == ["unrefined"] * 2
    assert (model.history_["train_criterion"] == model.history_["train_loss"]).all()
    whole = regularized().fit(decoys(32))
    assert model.history_.columns.tolist() == whole.history_.columns.tolist()
    np.testing.assert_array_equal(weights_of(model.estimator_), weights_of(whole.unrefined_))


def test_a_mark_that_is_there_or_not_is_unlearned():
    """Its absence tells a class as well; empty masks say that it is absent."""

    def marked(n, seed, shown):
        bunch = decoys(n, seed=seed, told=shown)
        return bunch.with_fields(masks=bunch.masks & (shown == 1)[:, None, None])

    rng = np.random.default_rng(0)
    y = np.arange(192) % 2
    train = marked(192, 0, y)
    test = marked(192, 1, rng.integers(0, 2, 192))
    estimator = network(module=SmallCNN(width=6, depth=1), max_epochs=8)
    model = regularized(estimator=estimator).fit(train)
    assert model.unrefined_.score(test, y) < 0.85
    assert model.score(test, y) > 0.95
    table = model.counterfactuals_
    assert (table["n_rows"] == 192).all()  # those without the mark, too
    assert table.loc["unrefined", "region_swap_accuracy"] < 0.6
    assert table.loc["refined", "region_swap_accuracy"] > 0.95


# -- masks -------------------------------------------------------------------------------------------------------------
def test_masks_of_a_bunch_an_argument_and_another_field_are_the_same():
    bunch = decoys(32)
    plain, masks = bunch.with_fields(masks=None), bunch.masks
    kept = regularized().fit(bunch)
    for model in (
        regularized().fit(plain, masks=masks),
        regularized().fit(np.asarray(plain), bunch.target, masks=masks),
        regularized(mask_field="artifact_masks").fit(plain.with_fields(artifact_masks=masks)),
        regularized(mask_field="tube").fit(bunch.with_fields(masks=1 - masks, tube=masks)),
        regularized(mask_role="attend").fit(plain, masks=~masks),
    ):
        np.testing.assert_array_equal(weights_of(model.estimator_), weights_of(kept.estimator_))
    np.testing.assert_array_equal(model.predict_proba(np.asarray(plain)), kept.predict_proba(bunch))


@pytest.mark.parametrize(
    ("penalty", "mask_role"), [("counterexamples", "avoid"), ("rrr_grad_cam", "avoid"), ("distance", "attend")]
)
def test_a_mask_of_one_half_is_inside(penalty, mask_role):
    """Such as the mean of two annotators."""
    bunch = decoys(16)
    model = regularized(penalty=penalty, mask_role=mask_role, estimator=network(max_epochs=1), lambda_=1.0)
    kept, halved = (
        weights_of(clone(model).fit(bunch.with_fields(masks=bunch.masks * inside)).estimator_) for inside in (1.0, 0.5)
    )
    np.testing.assert_array_equal(halved, kept)


def test_tables_take_masks_too():
    bunch = decoys(32)
    table = pd.DataFrame(np.asarray(bunch).reshape(32, -1)).rename(columns=lambda number: f"pixel{number}")
    model = regularized(estimator=network(image_shape=(1, 12, 12))).fit(table, bunch.target, masks=bunch.masks)
    assert model.n_features_in_ == 144
    assert model.feature_names_in_[0] == "pixel0"
    images = regularized().fit(bunch)
    np.testing.assert_array_equal(model.predict_proba(table), images.predict_proba(bunch))


def test_names_of_columns_are_those_of_the_last_fit():
    bunch = decoys(32)
    table = pd.DataFrame(np.asarray(bunch).reshape(32, -1)).rename(columns=lambda number: f"pixel{number}")
    pipeline = make_pipeline(StandardScaler(), network(image_shape=(1, 12, 12)))
    model = regularized(estimator=pipeline).fit(table, bunch.target, masks=bunch.masks)
    assert model.feature_names_in_.tolist() == table.columns.tolist()
    model.set_params(estimator=make_pipeline(ROIMasker(keep="all"), network())).fit(bunch)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 144


def test_equal_masks_for_all_classes_are_one_mask():
    bunch = decoys(32)
    plain, masks = bunch.with_fields(masks=None), bunch.masks
    of_classes = np.stack([masks, masks], axis=1)
    kept = regularized().fit(bunch)
    for model in (
        regularized().fit(plain, class_masks=of_classes),
        regularized().fit(np.asarray(plain), bunch.target, class_masks=list(of_classes)),
        regularized().fit(plain.with_fields(class_masks=of_classes)),
    ):
        np.testing.assert_array_equal(weights_of(model.estimator_), weights_of(kept.estimator_))
    table = model.counterfactuals_
    pd.testing.assert_frame_equal(table, kept.counterfactuals_)


def test_missing_masks_per_class():
    bunch = decoys(16)
    masks = np.stack([bunch.masks, bunch.masks], axis=1).astype(float)
    masks[3] = np.nan
    masks[4, 1] = np.nan
    given = [None if row == 5 else mask for row, mask in enumerate(masks)]
    regularized(penalty=Constant(), lambda_=1.0, estimator=network(batch_size=16, max_epochs=1)).fit(
        bunch.with_fields(masks=None), class_masks=given
    )
    (seen,) = Constant.seen
    assert int(seen["has_mask"].sum()) == 14
    assert int(seen["masks"].isnan().all(-1).all(-1).sum()) == 2 * 2 + 1


def test_masks_per_class_on_disk_may_be_bytes(tmp_path):
    bunch = decoys(16)
    masks = np.stack([bunch.masks, bunch.masks], axis=1)
    np.save(tmp_path / "masks.npy", masks.astype(np.uint8) * 255)
    on_disk = bunch.with_fields(masks=None, class_masks=np.load(tmp_path / "masks.npy", mmap_mode="r"))
    for bunch in (on_disk, on_disk.with_fields(class_masks=masks)):
        regularized(penalty=Constant(), lambda_=1.0, mask_role="attend", refine=False).fit(bunch)
    first, second = Constant.seen[0], Constant.seen[len(Constant.seen) // 2]
    assert torch.equal(first["masks"], second["masks"])


def test_augmentation_moves_masks_with_their_images():
    bunch = decoys(16)
    mirrored = network(augmentation=RandomGeometry(hflip=1.0), batch_size=16, max_epochs=1)
    for fit in ({"masks": bunch.masks}, {"class_masks": np.stack([bunch.masks] * 2, axis=1)}):
        regularized(penalty=Constant(), lambda_=1.0, estimator=mirrored).fit(bunch.with_fields(masks=None), **fit)
    one, per_class = (seen["masks"].numpy() for seen in Constant.seen)
    assert one[:, :3, -3:].all()
    np.testing.assert_array_equal(per_class, np.nan_to_num(one)[:, None].repeat(2, axis=1))


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({}, {"X": "plain"}, r"needs masks, but there are none: give fit\(X, y, masks=...\).*'masks'"),
        ({"mask_field": "tube"}, {"X": "plain"}, "'tube'"),
        ({}, {"masks": np.zeros((16, 12, 12))}, "each of the 16 rows has none or one that marks nothing"),
        ({}, {"masks": np.ones((16, 5, 5))}, "masks must have shape"),
        ({}, {"masks": np.ones((16, 12, 12)), "class_masks": np.ones((16, 2, 12, 12))}, "both given"),
        ({}, {"class_masks": np.ones((16, 2, 5, 5))}, "class_masks must have shape"),
        ({}, {"class_masks": np.ones((15, 2, 12, 12))}, "got 15 rows"),
        ({}, {"class_masks": np.ones((16, 3, 12, 12))}, "class_masks has 3 masks per row, but there are 2 classes"),
        ({}, {"class_masks": np.ones((16, 1, 12, 12))}, "class_masks has 1 masks per row, but there are 2 classes"),
        ({}, {"y": np.arange(12) % 2, "masks": np.ones((16, 12, 12))}, "inconsistent numbers of samples"),
        ({"refine": False, "penalty": ExemplarTripletPenalty()}, {}, "refine it"),
        ({"refine": False, "warm_start_from": network()}, {}, "from scratch and cannot start from"),
        ({"estimator": make_pipeline(ROIMasker())}, {}, "must be a NeuralImageClassifier"),
        ({"estimator": FrozenEstimator(network())}, {}, "but the classifier is a FrozenEstimator"),
        ({"estimator": network(penalty=InputGradients())}, {}, "penalty of its own, InputGradients"),
        ({"penalty": "nothing"}, {}, "penalty"),
        ({"estimator": network(batch_size=1)}, {}, "from other rows of the batch, but batch_size is 1"),
        ({"penalty": ExemplarTripletPenalty(), "exemplars": ([0], [99])}, {}, "there is no row 99"),
        ({"penalty": ExemplarTripletPenalty(), "exemplars": ([0],)}, {}, "must be a pair"),
        ({"penalty": ExemplarTripletPenalty(), "exemplars": ([0.5], [1.5])}, {}, "row numbers or images"),
        ({"penalty": ExemplarTripletPenalty()}, {"X": "plain"}, "give masks, or exemplars="),
        ({"penalty": "exbl"}, {"masks": np.zeros((16, 12, 12))}, "no row that counts has one that marks something"),
    ],
)
def test_bad_input_is_named(options, fit, message):
    bunch = decoys(16)
    X = bunch.with_fields(masks=None) if fit.get("X") == "plain" or len(fit) else bunch
    fit = {name: value for name, value in fit.items() if name != "X"}
    model = regularized(**{"estimator": network(max_epochs=1), **options})
    with pytest.raises(ValueError, match=message):
        model.fit(X, **fit)
    with pytest.raises(NotFittedError):
        model.predict(X)


# -- from where --------------------------------------------------------------------------------------------------------
def test_refining_a_given_network_equals_refining_one_s_own():
    bunch = decoys(32)
    whole = regularized(refine_epochs=2).fit(bunch)
    unrefined = network().fit(bunch)
    before = weights_of(unrefined)
    for given in (unrefined, FrozenEstimator(unrefined), Pipeline([("net", unrefined)]), whole.unrefined_):
        model = ExplanationRegularizedClassifier(penalty="counterexamples", refine_epochs=2, warm_start_from=given)
        model.fit(bunch)
        refined = model.estimator_["net"] if isinstance(given, Pipeline) else model.estimator_
        np.testing.assert_array_equal(weights_of(refined), weights_of(whole.estimator_))
    np.testing.assert_array_equal(weights_of(unrefined), before)
    assert unrefined.penalty is None
    assert len(unrefined.history_) == 2
    again = clone(model)
    assert again.warm_start_from is model.warm_start_from
    # A refined one may be refined further.
    further = ExplanationRegularizedClassifier(penalty="rrr", refine_epochs=1, warm_start_from=whole).fit(bunch)
    assert further.history_["epoch"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(weights_of(further.unrefined_), weights_of(whole.estimator_))


def test_estimator_says_how_a_given_network_is_trained():
    bunch = decoys(32)
    unrefined = network().fit(bunch)
    model = regularized(estimator=network(module=None, lr=0.5, max_epochs=3, batch_size=8), warm_start_from=unrefined)
    model.fit(bunch)
    assert len(model.history_) == 5
    assert model.estimator_.batch_size == 8
    assert type(model.estimator_.module_) is type(unrefined.module_)


def test_parameters_of_the_result_are_those_of_the_estimator(tmp_path):
    bunch = decoys(32)
    model = regularized(estimator=network(early_stopping=True), refine_epochs=3, refine_lr=0.01).fit(bunch)
    assert repr(model.estimator_) == repr(model.estimator)
    assert model.history_["valid_loss"].isna().tolist() == [False, False, True, True, True]
    model.estimator_.save(tmp_path / "model.zip")
    again = NeuralImageClassifier.load(tmp_path / "model.zip")
    np.testing.assert_array_equal(again.predict_proba(bunch), model.predict_proba(bunch))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(bunch), model.predict_proba(bunch))
    pd.testing.assert_frame_equal(again.counterfactuals_, model.counterfactuals_)


def test_answers_are_those_of_the_refined_network():
    bunch = decoys(32)
    model = regularized().fit(bunch)
    inner = model.estimator_
    for method in ("predict", "predict_proba", "decision_function", "embed"):
        np.testing.assert_array_equal(getattr(model, method)(bunch), getattr(inner, method)(bunch))
    assert model.score(bunch, bunch.target) == inner.score(bunch, bunch.target)
    assert model.classes_.tolist() == [0, 1]
    assert model.n_features_in_ == 144
    assert model.label_names_ is None


def test_several_labels():
    bunch = decoys(32)
    labels = pd.DataFrame({"a": bunch.target, "b": np.arange(32) // 2 % 2})
    model = regularized().fit(bunch.with_fields(target=None), labels)
    assert model.label_names_.tolist() == ["a", "b"]
    assert model.predict(bunch).shape == (32, 2)
    assert model.counterfactuals_.loc["refined"].between(0, 32).all()
    of_labels = np.stack([bunch.masks, ~bunch.masks], axis=1)
    regularized().fit(bunch.with_fields(masks=None), labels, class_masks=of_labels)


def test_a_pipeline_is_refined_at_its_end():
    bunch = decoys(32)
    pipeline = Pipeline([("mask", ROIMasker(keep="all")), ("net", network())])
    model = regularized(estimator=pipeline).fit(bunch)
    kept = regularized().fit(bunch)
    for fitted, peer in ((model.estimator_, kept.estimator_), (model.unrefined_, kept.unrefined_)):
        assert [name for name, _ in fitted.steps] == ["mask", "net"]
        np.testing.assert_array_equal(weights_of(fitted["net"]), weights_of(peer))
    np.testing.assert_array_equal(model.predict_proba(bunch), kept.predict_proba(bunch))
    np.testing.assert_array_equal(model.embed(bunch), kept.embed(bunch))
    assert model.n_features_in_ == 144
    model.set_params(estimator__net__lr=0.5)
    assert model.get_params()["estimator__net__lr"] == 0.5
    further = ExplanationRegularizedClassifier(penalty="rrr", refine_epochs=1, warm_start_from=model).fit(bunch)
    assert [name for name, _ in further.estimator_.steps] == ["mask", "net"]


# -- exemplars ---------------------------------------------------------------------------------------------------------
def test_exemplars_by_number_by_image_and_suggested():
    bunch = decoys(40)
    unrefined = network(max_epochs=4).fit(bunch)
    options = {"penalty": "exbl", "warm_start_from": unrefined, "refine_epochs": 1}
    model = ExplanationRegularizedClassifier(**options).fit(bunch)
    found = model.suggest_exemplars(bunch, k=5)
    plain = bunch.with_fields(masks=None)
    good, bad = found.good, found.bad
    for exemplars in ((good, bad), (good.tolist(), bad.tolist()), (bunch[good], bunch[bad])):
        other = ExplanationRegularizedClassifier(exemplars=exemplars, **options).fit(plain)
        np.testing.assert_array_equal(weights_of(other.estimator_), weights_of(model.estimator_))
        assert other.counterfactuals_ is None
    one = ExplanationRegularizedClassifier(exemplars=(int(good[0]), int(bad[0])), **options).fit(plain)
    images = np.asarray(plain)
    other = ExplanationRegularizedClassifier(exemplars=(images[good[:1]], images[bad[:1]]), **options).fit(plain)
    np.testing.assert_array_equal(weights_of(one.estimator_), weights_of(other.estimator_))
    frozen = ExemplarTripletPenalty().with_exemplars(unrefined, bunch[good], bunch[bad])
    other = ExplanationRegularizedClassifier(**{**options, "penalty": frozen}).fit(plain)
    np.testing.assert_array_equal(weights_of(other.estimator_), weights_of(model.estimator_))


def test_suggestions_come_from_rows_that_have_a_mask():
    bunch = decoys(40, masked=range(20, 40))
    model = regularized(penalty="exbl", estimator=network(max_epochs=4), refine_epochs=1).fit(bunch)
    found = model.suggest_exemplars(bunch, k=3)
    assert set(found.good) | set(found.bad) <= set(range(20, 40))
    only = model.suggest_exemplars(bunch.with_fields(masks=None), masks=bunch.masks, k=1)
    assert len(only.good) == 1


def test_suggestions_are_fewer_pairs_where_few_rows_are_right_and_none_without_weight():
    bunch = decoys(40, masked=range(10))
    labels = np.array(["bright", "dark"])[bunch.target]
    labels[:3] = labels[:3][::-1]
    weight = np.ones(40)
    labels[9], weight[9] = "?", 0
    bunch = bunch.with_fields(target=None)
    model = regularized(penalty="exbl", estimator=network(max_epochs=4), refine_epochs=1)
    model.fit(bunch, labels, sample_weight=weight)
    assert np.isfinite(model.history_["train_loss"]).all()
    with pytest.raises(ValueError, match=r"k=1 pairs need 2 rows .* but only 1 of 1 do"):
        model.fit(bunch[:8].with_fields(masks=[bunch.masks[0]] + [None] * 7), labels[:8])


def test_exemplars_given_as_rows_pass_through_the_pipeline():
    bunch = decoys(40)
    pipeline = make_pipeline(ROIMasker(keep="background"), network(max_epochs=4))
    models = []
    for exemplars in (([0, 1], [6, 7]), (bunch[[0, 1]], bunch[[6, 7]])):
        model = regularized(penalty="exbl", estimator=pipeline, refine_epochs=1, exemplars=exemplars).fit(bunch)
        models.append(weights_of(model.estimator_[-1]))
    np.testing.assert_array_equal(*models)


# -- names, search, memory ---------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn_shortcuts")
@pytest.mark.parametrize("name", sorted(set(PENALTY_NAMES) - {"rbr"}))
def test_every_name_trains(name):
    bunch = decoys(40)
    model = regularized(penalty=name, estimator=network(max_epochs=3), refine_epochs=1).fit(bunch)
    assert np.isfinite(model.history_["train_loss"]).all()
    assert model.lambda_value_ > 0


def test_names_stand_for_objects_of_their_own():
    assert {"rrr", "rrr_grad_cam", "exbl", "hint", "cdep", "rbr", "counterexamples", "distance"} == set(PENALTY_NAMES)
    assert resolve_penalty("rrr") is not resolve_penalty("rrr")
    given = InputGradientPenalty("true")
    assert resolve_penalty(given) is not given
    assert resolve_penalty(given).scores == "true"


SEARCHED = {
    "penalty": ["counterexamples", InputGradients(), CounterexampleAugmentation("swap")],
    "lambda_": [0, 0.1, 1, "auto"],
}


def search(memory, n_jobs=None):
    model = regularized(estimator=network(max_epochs=1), memory=memory)
    scorer = make_counterfactual_scorer("region_swap_accuracy", random_state=0)
    return GridSearchCV(model, SEARCHED, cv=3, scoring=scorer, refit=False, n_jobs=n_jobs, error_score="raise")


def scores_of(fitted):
    table = pd.DataFrame(fitted.cv_results_)
    return table[[name for name in table if "time" not in name]].astype(str)


def test_memory_trains_once_per_fold_and_changes_no_result(tmp_path, monkeypatch):
    bunch = decoys(36)
    fits = []
    plain_fit = NeuralImageClassifier.fit

    def counting(self, *args, **kwargs):
        fits.append("refined" if self.warm_start else "unrefined")
        return plain_fit(self, *args, **kwargs)

    monkeypatch.setattr(NeuralImageClassifier, "fit", counting)
    without = search(None).fit(bunch, bunch.target)
    assert (fits.count("unrefined"), fits.count("refined")) == (36, 36)
    fits.clear()
    kept = search(tmp_path).fit(bunch, bunch.target)
    assert (fits.count("unrefined"), fits.count("refined")) == (3, 36)
    pd.testing.assert_frame_equal(scores_of(kept), scores_of(without))
    monkeypatch.undo()
    parallel = search(tmp_path, n_jobs=2).fit(bunch, bunch.target)
    pd.testing.assert_frame_equal(scores_of(parallel), scores_of(without))


class OwnPenalty(Penalty):
    """Says neither what its masks mean nor that it needs to know who has one."""

    fields = ("masks",)

    def build(self, n_samples, n_outputs, kind):
        return self.penalties

    def penalties(self, module, batch):
        return batch["logits"].square().sum(1) * batch["masks"].flatten(1).double().mean(1)


def test_a_penalty_of_one_s_own():
    bunch = decoys(32, masked=range(16))
    model = regularized(penalty=OwnPenalty(), mask_role="attend", lambda_=1.0).fit(bunch)
    assert model.history_["train_penalty"].iloc[-1] > 0


def test_nested_parameters():
    model = ExplanationRegularizedClassifier(network(), penalty=CounterexampleAugmentation())
    model.set_params(penalty__fill="swap", estimator__lr=0.5, estimator__module__width=7)
    again = clone(model)
    assert (again.penalty.fill, again.estimator.lr, again.estimator.module.width) == ("swap", 0.5, 7)
    with pytest.raises(NotFittedError):
        again.predict(np.zeros((1, 12, 12)))
