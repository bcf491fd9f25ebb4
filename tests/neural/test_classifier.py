"""NeuralImageClassifier: learning, targets, weights, stopping, randomness."""

import functools
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN

TINY = SmallCNN(width=4, depth=2)


def model(**parameters):
    return NeuralImageClassifier(**{"module": TINY, "lr": 0.01, "batch_size": 16, "random_state": 0, **parameters})


@pytest.fixture
def linear(build):
    def linear(n_pixels, n_outputs=2):
        return build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(n_pixels, n_outputs)))

    return linear


# -- targets -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("names", [np.array(["z", "b"]), np.array([3, -1]), np.array([True, False])])
def test_two_classes_of_any_kind(spots, names):
    images, codes = spots()
    fitted = model().fit(images, names[codes])
    np.testing.assert_array_equal(fitted.classes_, np.sort(names))
    np.testing.assert_array_equal(fitted.predict(images), names[codes])
    np.testing.assert_array_equal(fitted.decision_function(images) > 0, names[codes] == fitted.classes_[1])
    assert roc_auc_score(names[codes] == fitted.classes_[1], fitted.predict_proba(images)[:, 1]) == 1.0


def test_several_classes(spots):
    images, codes = spots(n_classes=4)
    fitted = model(max_epochs=15).fit(images, np.array(list("dcba"))[codes])
    assert fitted.score(images, np.array(list("dcba"))[codes]) == 1.0
    assert fitted.decision_function(images).shape == (48, 4)
    np.testing.assert_allclose(fitted.predict_proba(images).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_several_labels_score_by_roc_auc_in_cross_validation(spots, n_labels):
    images, codes = spots(n=60, n_classes=n_labels)
    y = pd.DataFrame(np.eye(n_labels, dtype=int)[codes], columns=["edema", "effusion", "hernia"][:n_labels])
    y.iloc[::7] = 1  # rows with all labels, so that the columns are no classes in disguise
    result = cross_validate(model(max_epochs=15), images, y, scoring=["roc_auc", "average_precision"], cv=2)
    assert result["test_roc_auc"].min() > 0.75
    for method in ("predict_proba", "decision_function"):
        held_out = cross_val_predict(model(max_epochs=1), images, y.to_numpy(), cv=2, method=method)
        assert held_out.shape == (60, n_labels)
    fitted = model(max_epochs=3).fit(images, y)
    assert fitted.label_names_.tolist() == y.columns.tolist()
    assert fitted.predict_proba(images).shape == fitted.decision_function(images).shape == (60, n_labels)
    np.testing.assert_array_equal(fitted.predict(images), fitted.predict_proba(images) > 0.5)
    assert fitted.score(images, y) == np.mean((fitted.predict(images) == y).all(axis=1))


def test_a_network_with_one_logit_serves_a_binary_target(spots, linear):
    images, codes = spots(size=8)
    fitted = model(module=linear(64, 1), max_epochs=30).fit(images, codes)
    assert fitted.score(images, codes) == 1.0
    assert fitted.decision_function(images).shape == (48,)
    np.testing.assert_allclose(fitted.predict_proba(images).sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="1 outputs per row, but 3"):
        model(module=linear(64, 1)).fit(*spots(size=8, n_classes=3))


def test_target_weights_and_groups_come_from_the_bunch_unless_given(spots):
    images, codes = spots()
    weights = np.where(codes, 1.0, 3.0)
    bunch = ImageBunch(images, target=codes, sample_weight=weights)
    from_bunch = model(max_epochs=2).fit(bunch).predict_proba(images)
    given = model(max_epochs=2).fit(images, codes, sample_weight=weights).predict_proba(images)
    other = model(max_epochs=2).fit(bunch, 1 - codes, sample_weight=np.ones(48)).predict_proba(images)
    np.testing.assert_array_equal(from_bunch, given)
    np.testing.assert_array_equal(other, model(max_epochs=2).fit(images, 1 - codes).predict_proba(images))


# -- weights -----------------------------------------------------------------------------------------------------------
def test_weights_equal_repeated_rows_in_one_batch(spots):
    images, codes = spots(n=20)
    weights = np.arange(20) % 4
    options = {"precision": "float64", "batch_size": 100, "normalize": "channel"}
    weighted = model(**options).fit(images, codes, sample_weight=weights)
    repeated = model(**options).fit(images.repeat(weights, axis=0), codes.repeat(weights))
    np.testing.assert_allclose(weighted.predict_proba(images), repeated.predict_proba(images), rtol=1e-9)


def test_one_step_of_gradient_descent_with_weights_in_small_batches(linear):
    """Closed form: two batches of plain gradient descent on a linear model, weights scaled to mean 1 over all rows."""
    rng = np.random.default_rng(0)
    images, y, weights = rng.normal(size=(5, 1, 2, 2)), np.array([0, 1, 1, 0, 1]), np.array([1.0, 4.0, 0.5, 2.0, 2.5])
    start = linear(4).double()
    options = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "batch_size": 3, "precision": "float64", "max_epochs": 1}

    class Watch(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            net.module_.seen_rows.append(batch[1]["index"].tolist())

    start.seen_rows = []
    fitted = model(module=start, callbacks=[Watch()], **options).fit(images, y, sample_weight=weights)
    order = fitted.module_.seen_rows
    assert sorted(map(len, order)) == [2, 3]
    W, b = start[1].weight.detach().numpy(), start[1].bias.detach().numpy()
    scaled = weights / weights.mean()
    for rows in order:
        x = images[rows].reshape(len(rows), 4)
        logits = x @ W.T + b
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        error = (p - np.eye(2)[y[rows]]) * scaled[rows, None] / len(rows)
        W, b = W - 0.5 * error.T @ x, b - 0.5 * error.sum(axis=0)
    np.testing.assert_allclose(fitted.module_[1].weight.detach(), W, rtol=1e-12)
    np.testing.assert_allclose(fitted.module_[1].bias.detach(), b, rtol=1e-12)


class SeenRows(Callback):
    """Keep the rows of every training step on the network, and whether they came with weights."""

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            net.module_.seen_rows.append(batch[1]["index"].tolist())
            net.module_.seen_weights = "sample_weight" in batch[1]


@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 3.0}])
def test_sampling_draws_rows_in_proportion_to_their_weights_and_leaves_the_loss_alone(linear, class_weight):
    rng = np.random.default_rng(0)
    images, y, weights = rng.normal(size=(30, 1, 2, 2)), np.arange(30) % 2, np.arange(30) % 5
    start = linear(4)
    start.seen_rows = []
    options = {"module": start, "class_weight": class_weight, "max_epochs": 200, "lr": 1e-4, "batch_size": 8}
    fitted = model(weighting="sampling", callbacks=[SeenRows()], **options).fit(images, y, sample_weight=weights)
    steps = fitted.module_.seen_rows
    assert not fitted.module_.seen_weights
    assert len(steps) == 200 * 3  # 24 rows have a weight
    drawn = np.bincount(np.concatenate(steps), minlength=30)
    expected = weights * (1 if class_weight is None else np.where(y, 3.0, 1.0))
    expected = 200 * 24 * expected / expected.sum()
    assert not drawn[weights == 0].any()
    kept = expected > 0
    assert ((drawn - expected)[kept] ** 2 / expected[kept]).sum() < 50  # chi-squared of 23 degrees, p = 0.001


def test_one_step_of_gradient_descent_on_sampled_rows(linear):
    """Closed form: an unweighted step on exactly the rows that were drawn, some of them twice."""
    rng = np.random.default_rng(1)
    images, y, weights = rng.normal(size=(6, 1, 2, 2)), np.array([0, 1, 1, 0, 1, 0]), np.array([1.0, 4, 0.5, 2, 9, 1])
    start = linear(4).double()
    start.seen_rows = []
    options = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "precision": "float64", "max_epochs": 1}
    fitted = model(module=start, weighting="sampling", callbacks=[SeenRows()], **options)
    fitted.fit(images, y, sample_weight=weights)
    (rows,) = fitted.module_.seen_rows
    assert len(set(rows)) < len(rows) == 6
    W, b = start[1].weight.detach().numpy(), start[1].bias.detach().numpy()
    x = images[rows].reshape(6, 4)
    logits = x @ W.T + b
    error = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(2)[y[rows]]) / 6
    np.testing.assert_allclose(fitted.module_[1].weight.detach(), W - 0.5 * error.T @ x, rtol=1e-12)
    np.testing.assert_allclose(fitted.module_[1].bias.detach(), b - 0.5 * error.sum(axis=0), rtol=1e-12)


def test_sampling_is_repeatable_and_without_weights_no_different(spots):
    images, codes = spots()
    weights = np.random.default_rng(0).random(48)
    fits = [
        model(max_epochs=2, weighting="sampling", random_state=seed).fit(images, codes, sample_weight=weights)
        for seed in (0, 0, 1)
    ]
    first, again, other = (fitted.predict_proba(images) for fitted in fits)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    for equal in (None, np.full(48, 3.0)):
        plain = [
            model(max_epochs=2, weighting=weighting).fit(images, codes, sample_weight=equal).predict_proba(images)
            for weighting in ("loss", "sampling")
        ]
        np.testing.assert_array_equal(*plain)


def test_the_loss_of_held_out_rows_is_weighted_under_sampling_too(spots):
    images, codes = spots(n=60)
    weights = np.random.default_rng(1).random(60) * 5
    options = {"max_epochs": 1, "early_stopping": True, "validation_fraction": 0.3, "lr": 1e-12}
    losses = [
        model(weighting=weighting, **options).fit(images, codes, sample_weight=weights).history_["valid_loss"][0]
        for weighting in ("loss", "sampling")
    ]
    # at such a learning rate both are the loss of the initial network
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    unweighted = model(**options).fit(images, codes).history_["valid_loss"][0]
    assert abs(losses[0] - unweighted) > 1e-4


def test_rows_of_weight_zero_are_absent(spots):
    images, codes = spots()
    codes[5] = 2  # the only member of its class
    images[5] = 1e30
    weights = np.ones(48)
    weights[5] = 0
    fitted = model(max_epochs=2).fit(images, codes, sample_weight=weights)
    without = model(max_epochs=2).fit(np.delete(images, 5, axis=0), np.delete(codes, 5))
    assert fitted.classes_.tolist() == [0, 1]
    assert np.isfinite(fitted.history_.train_loss).all()
    assert without.classes_.tolist() == [0, 1]
    with pytest.raises(ValueError, match="at least one non-zero"):
        model().fit(images, codes, sample_weight=np.zeros(48))


def test_balanced_classes_equal_the_weights_written_out(spots):
    images, codes = spots(n=40)
    keep = (codes == 0) | (np.arange(40) % 5 == 0)
    images, codes = images[keep], codes[keep]
    counts = np.bincount(codes)
    by_hand = model(max_epochs=3, class_weight={0: 1 / counts[0], 1: 1 / counts[1]}).fit(images, codes)
    balanced = model(max_epochs=3, class_weight="balanced").fit(images, codes)
    np.testing.assert_allclose(balanced.predict_proba(images), by_hand.predict_proba(images), rtol=1e-4)


def test_balanced_labels_give_presence_and_absence_the_same_weight(spots, linear):
    images, _ = spots(size=8)
    y = pd.DataFrame({"rare": (np.arange(48) % 8 == 0).astype(int), "common": (np.arange(48) % 8 > 0).astype(int)})
    constant = np.zeros_like(images)
    options = {"module": linear(64), "max_epochs": 200, "optimizer": "adam", "batch_size": 48, "lr": 0.05}
    plain = model(**options).fit(constant, y).predict_proba(constant[:1])
    balanced = model(class_weight="balanced", **options).fit(constant, y).predict_proba(constant[:1])
    np.testing.assert_allclose(plain, [[1 / 8, 7 / 8]], atol=0.02)  # a constant image tells the frequency only
    np.testing.assert_allclose(balanced, [[0.5, 0.5]], atol=0.02)
    named = model(class_weight={"rare": 7.0}, **options).fit(constant, y).predict_proba(constant[:1])
    np.testing.assert_allclose(named, [[0.5, 7 / 8]], atol=0.02)
    with pytest.raises(ValueError, match="names the labels"):
        model(class_weight={"other": 2.0}).fit(images, y)
    with pytest.raises(ValueError, match="'rare' has only one"):
        model(class_weight="balanced").fit(images, y.assign(rare=0))


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, "much"])
@pytest.mark.parametrize("n_labels", [1, 2])
def test_weights_of_classes_are_checked(spots, weight, n_labels):
    images, codes = spots()
    y = codes if n_labels == 1 else np.column_stack([codes, 1 - codes])
    with pytest.raises(ValueError, match="class_weight: the weight of 1 must be a number"):
        model(class_weight={0: 1, 1: weight}).fit(images, y)


def test_some_class_must_count(spots):
    with pytest.raises(ValueError, match="leaves no row"):
        model(class_weight={0: 0, 1: 0}).fit(*spots())


@pytest.mark.parametrize("optimizer", ["adamw", torch.optim.AdamW])
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_weight_decay_is_what_it_says(spots, optimizer, weight_decay):
    fitted = model(max_epochs=1, optimizer=optimizer, weight_decay=weight_decay).fit(*spots())
    assert fitted.net_.optimizer_.param_groups[0]["weight_decay"] == weight_decay


# -- stopping ----------------------------------------------------------------------------------------------------------
def test_early_stopping_returns_to_the_best_epoch(spots):
    images, codes = spots(n=64)
    noisy = np.random.default_rng(1).permutation(codes)  # nothing to learn: held-out loss rises with training
    fitted = model(early_stopping=True, validation_fraction=0.25, patience=3, max_epochs=60, lr=0.02).fit(images, noisy)
    best = fitted.history_.valid_loss.idxmin()
    assert fitted.n_iter_ < 60
    assert fitted.n_iter_ == best + 1 + 3
    held_out_loss = model(early_stopping=True, validation_fraction=0.25, patience=3, max_epochs=best + 1, lr=0.02)
    np.testing.assert_array_equal(held_out_loss.fit(images, noisy).predict_proba(images), fitted.predict_proba(images))


def test_the_held_out_rows_are_whole_groups_that_are_never_trained_on(spots, linear):
    images, codes = spots(n=60)
    groups = np.arange(60) // 6
    seen = {True: set(), False: set()}

    class Watch(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            net.module_.seen[training].update(batch[1]["index"].tolist())

    network = linear(256)
    network.seen = seen
    bunch = ImageBunch(images, target=codes, groups=groups)
    fitted = model(module=network, callbacks=[Watch()], early_stopping=True, max_epochs=3).fit(bunch)
    trained, held_out = (np.array(sorted(fitted.module_.seen[key])) for key in (True, False))
    assert len(trained) + len(held_out) == 60
    assert not set(groups[trained]) & set(groups[held_out])
    assert len(held_out) == 6
    assert seen == {True: set(), False: set()}, "the caller's network was changed"


@pytest.mark.parametrize("missing", [None, np.nan])
def test_every_row_needs_a_group_and_groups_may_be_of_any_type(spots, missing):
    images, codes = spots()
    groups = np.array(["a", 1, 2.5, "b"] * 12, dtype=object)
    assert model(early_stopping=True, validation_fraction=0.5).fit(images, codes, groups=groups).n_iter_ > 0
    groups[7] = missing
    with pytest.raises(ValueError, match="groups: row 7 has no group"):
        model(early_stopping=True).fit(images, codes, groups=groups)


@pytest.mark.parametrize("moment", ["on_train_begin", "on_train_end"])
def test_stopping_at_the_edges_of_training(spots, moment):
    def stop(self, net, **kwargs):
        raise KeyboardInterrupt

    callback = type("Stopping", (Callback,), {moment: stop})()
    classifier = model(max_epochs=1, callbacks=[callback])
    if moment == "on_train_end":
        assert classifier.fit(*spots()).n_iter_ == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            classifier.fit(*spots())


def test_callbacks_may_stop_and_schedule(spots):
    images, codes = spots()
    stop = EarlyStopping(monitor="train_loss", threshold=0.99, patience=2, sink=lambda _: None)
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    fitted = model(callbacks=[stop, schedule]).fit(images, codes)
    assert fitted.n_iter_ < 10
    assert fitted.net_.optimizer_.param_groups[0]["lr"] < 0.01
    assert not hasattr(schedule, "lr_scheduler_"), "the caller's callback was used itself"


class InterruptedNetwork(nn.Module):
    """Behaves as if the user pressed Ctrl-C in its n-th training step."""

    def __init__(self, image_shape, n_outputs, n=5):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(image_shape)), n_outputs))
        self.left = n

    def forward(self, X):
        if self.training:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.layers(X)


def test_ctrl_c_leaves_a_fitted_classifier_and_a_warning(spots):
    images, codes = spots()
    classifier = model(module=InterruptedNetwork, n_threads=2)
    with pytest.warns(UserWarning, match="interrupted in epoch 2"):
        classifier.fit(images, codes)
    assert classifier.n_iter_ == 1
    assert classifier.predict_proba(images).shape == (48, 2)
    assert pickle.loads(pickle.dumps(classifier)).n_iter_ == 1


def test_ctrl_c_in_the_first_epoch(spots):
    images, codes = spots()
    classifier = model(module=functools.partial(InterruptedNetwork, n=2))
    with pytest.warns(UserWarning, match="interrupted in epoch 1"):
        classifier.fit(images, codes)
    assert classifier.n_iter_ == 0
    assert classifier.history_.columns.tolist() == ["epoch", "train_loss", "seconds"]
    assert classifier.predict(images).shape == (48,)


def test_real_digits_are_learned_from_bytes(real_data):
    with np.load(real_data / "mnist10k" / "mnist_t10k.npz", allow_pickle=False) as file:
        arrays = {file[name].ndim: file[name] for name in file.files}
    images, digits = arrays[3], arrays[1]
    assert images.dtype == np.uint8
    train, test = np.split(np.random.default_rng(0).permutation(len(images))[:3500], [2500])
    fitted = NeuralImageClassifier(max_epochs=4, random_state=0).fit(images[train], digits[train])
    assert fitted.score(images[test], digits[test]) > 0.93


def test_a_loss_that_is_not_finite_says_what_to_lower(spots):
    images, codes = spots()
    classifier = model(lr=1e30, optimizer="sgd")
    with pytest.raises(FloatingPointError, match=r"lower lr \(now 1e\+30\)"):
        classifier.fit(images, codes)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        classifier.predict(images)


# -- randomness --------------------------------------------------------------------------------------------------------
def probabilities(classifier, images, codes):
    return classifier.fit(images, codes).predict_proba(images)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_the_seed_decides_whatever_runs_beside_it(spots, backend):
    images, codes = spots()
    jobs = [
        (model(module=Dropped, max_epochs=3, random_state=seed, n_threads=n_threads), images, codes)
        for seed in (0, 1)
        for n_threads in (0, 2)
    ]
    alone = [probabilities(*job) for job in jobs]
    beside = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(probabilities)(*job) for job in jobs)
    np.testing.assert_array_equal(alone, beside)
    np.testing.assert_array_equal(alone[0], alone[1])
    assert not np.array_equal(alone[0], alone[2])


class Dropped(nn.Sequential):
    """Linear network with dropout, which draws in every training step."""

    def __init__(self, image_shape, n_outputs):
        n = int(np.prod(image_shape))
        super().__init__(nn.Flatten(), nn.Linear(n, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, n_outputs))


def test_random_states_are_used_as_scikit_learn_does(spots):
    images, codes = spots()
    state = np.random.RandomState(3)
    options = {"max_epochs": 1}
    first, second = (probabilities(model(random_state=state, **options), images, codes) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(
        first, probabilities(model(random_state=np.random.RandomState(3), **options), images, codes)
    )
    a, b = (probabilities(model(random_state=None, **options), images, codes) for _ in range(2))
    assert not np.array_equal(a, b)


# -- together with scikit-learn ----------------------------------------------------------------------------------------
def test_search_over_parts_inside_a_pipeline(spots):
    images, codes = spots()
    pipeline = make_pipeline(FunctionTransformer(), model(max_epochs=2))
    name = "neuralimageclassifier"
    grid = {f"{name}__module__width": [2, 4], f"{name}__criterion": [None, CrossEntropy(0.1)]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="roc_auc").fit(ImageBunch(images), codes)
    assert len(search.cv_results_["params"]) == 4
    assert search.predict_proba(images).shape == (48, 2)


def test_cross_val_predict_on_a_bunch(spots):
    images, codes = spots()
    bunch = ImageBunch(images, sample_weight=np.ones(48))
    probability = cross_val_predict(model(), bunch, codes, method="predict_proba", cv=2)
    assert roc_auc_score(codes, probability[:, 1]) > 0.95


def test_fit_arguments_can_be_routed(spots):
    images, codes = spots()
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = model(max_epochs=1).set_fit_request(sample_weight=True, groups=True)
        classifier.set_score_request(sample_weight=True)
        result = cross_validate(classifier, images, codes, cv=2, params={"sample_weight": np.ones(48), "groups": codes})
    assert len(result["test_score"]) == 2


def test_clone_takes_no_weights_along(spots):
    fitted = model(max_epochs=1, callbacks=[("schedule", LRScheduler("StepLR", step_size=1))]).fit(*spots())
    assert not hasattr(clone(fitted), "net_")


def test_a_pickle_holds_weights_and_no_images(spots):
    images, codes = spots(n=400, size=32)
    bunch = ImageBunch(images.astype(np.float32), masks=np.ones((400, 32, 32), np.float32))
    fitted = model(max_epochs=1, early_stopping=True).fit(bunch, codes)
    size = len(pickle.dumps(fitted))
    n_weights = sum(weight.numel() for weight in fitted.module_.parameters())
    assert size < 3 * 4 * n_weights + 60_000, "weights and two moments of the optimizer, and little else"
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(images[:5]), fitted.predict_proba(images[:5]))
    again.partial_fit(images, codes)


def test_verbose_prints_a_line_per_epoch_or_shows_a_bar(spots, capsys):
    images, codes = spots()
    model(max_epochs=2).fit(images, codes)
    assert capsys.readouterr() == ("", "")
    model(max_epochs=2, verbose=2).fit(images, codes)
    assert len(capsys.readouterr().out.strip().splitlines()) == 4
    model(max_epochs=2, verbose=1).fit(images, codes)
    assert "2/2" in capsys.readouterr().err


def test_history_has_a_row_per_epoch(spots):
    history = model(max_epochs=3).fit(*spots()).history_
    assert history.columns.tolist() == ["epoch", "train_loss", "seconds"]
    assert len(history) == 3
    assert history.train_loss.is_monotonic_decreasing


def test_unused_masks_are_not_ignored_in_silence(spots):
    images, codes = spots()
    with pytest.warns(UserWarning, match="masks are given, but"):
        model(max_epochs=1).fit(images, codes, masks=np.ones_like(images))


@pytest.mark.parametrize("parameters", [{"lr": 0}, {"optimizer": "lbfgs"}, {"module": 3}, {"precision": "float16"}])
def test_parameters_are_checked_in_fit(spots, parameters):
    with pytest.raises(ValueError, match=f"'{next(iter(parameters))}' parameter of NeuralImageClassifier"):
        NeuralImageClassifier(**parameters).fit(*spots())


def test_any_optimizer_class_serves(spots):
    images, codes = spots()
    fitted = model(optimizer=torch.optim.NAdam, weight_decay=0.01).fit(images, codes)
    assert isinstance(fitted.net_.optimizer_, torch.optim.NAdam)
    assert fitted.net_.optimizer_.param_groups[0]["weight_decay"] == 0.01
    assert fitted.score(images, codes) == 1.0
