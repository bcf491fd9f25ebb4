"""Training by the worst subgroups."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.metrics import make_group_scorer
from sklearn_shortcuts.mitigation import BAMHardSampleMiner, GroupDROClassifier
from sklearn_shortcuts.mitigation._group_dro import GroupDRO
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN

from .planted_groups import draw, small_network, worst_group


# -- the criterion -----------------------------------------------------------------------------------------------------
def log_loss_of(logits, y):
    logits = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]


@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_objective_of_a_few_batches(weighted):
    rng = np.random.default_rng(0)
    counts, step_size, adjustment = np.array([60, 25, 10, 5]), 0.3, 2.0
    loss = GroupDRO(counts, step_size=step_size, adjustment=adjustment).build(100, 3, "multiclass").double()
    q = np.full(4, 0.25)
    for _ in range(6):
        logits, y, groups = rng.normal(size=(20, 3)), rng.integers(0, 3, 20), rng.integers(0, 3, 20)
        row_weight = rng.uniform(0.2, 2, 20) if weighted else np.ones(20)
        batch = {"y": torch.from_numpy(y), "subgroup_codes": torch.from_numpy(groups)[:, None]}
        if weighted:
            batch["sample_weight"] = torch.from_numpy(row_weight)
        tensor = torch.from_numpy(logits).requires_grad_()
        objective = (loss(tensor, batch, True) * torch.from_numpy(row_weight)).mean()

        losses = log_loss_of(logits, y)
        means = np.array([np.average(losses[groups == g], weights=row_weight[groups == g]) for g in range(3)])
        q[:3] *= np.exp(step_size * (means + adjustment / np.sqrt(counts[:3])))  # the fourth is in no batch
        q /= q.sum()
        np.testing.assert_allclose(loss.group_weights().numpy(), q, rtol=1e-10)
        assert objective.item() == pytest.approx(q[:3] @ means)
        # The weights do not depend on the logits as far as the gradient goes.
        objective.backward()
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[y]
        mass = np.bincount(groups, row_weight)[groups]
        np.testing.assert_allclose(tensor.grad.numpy(), p * (q[groups] * row_weight / mass)[:, None], rtol=1e-9)


def test_held_out_rows_count_by_the_share_of_their_subgroup():
    counts = np.array([90, 10])
    loss = GroupDRO(counts).build(100, 2, "binary").double()
    loss.log_weights.copy_(torch.tensor([0.3, 0.7]).log())
    rng = np.random.default_rng(0)
    logits, y, groups = rng.normal(size=(100, 2)), rng.integers(0, 2, 100), np.repeat([0, 1], counts)
    batch = {"y": torch.from_numpy(y), "subgroup_codes": torch.from_numpy(groups)[:, None]}
    values = loss(torch.from_numpy(logits), batch, False)
    losses = log_loss_of(logits, y)
    assert values.mean().item() == pytest.approx(0.3 * losses[:90].mean() + 0.7 * losses[90:].mean())
    assert loss.group_weights().tolist() == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("crossed", [False, True])
def test_several_labels(crossed):
    rng = np.random.default_rng(0)
    y, row_weight = rng.integers(0, 2, (30, 2)), rng.uniform(0.5, 2, 30)
    label_weight, logits = rng.uniform(0.5, 2, (30, 2)), rng.normal(size=(30, 2))
    attribute = rng.integers(0, 2, 30)
    codes = 4 * attribute[:, None] + 2 * np.arange(2) + y if crossed else attribute[:, None]
    loss = GroupDRO(np.bincount(codes.ravel()), step_size=0.5).build(30, 2, "multilabel").double()
    given = {"y": y.astype(float), "subgroup_codes": codes, "sample_weight": row_weight, "label_weight": label_weight}
    batch = {name: torch.from_numpy(value) for name, value in given.items()}
    objective = (loss(torch.from_numpy(logits), batch, True) * batch["sample_weight"]).mean().item()
    losses = np.log1p(np.exp(-logits * (2 * y - 1)))
    if crossed:
        weight = row_weight[:, None] * label_weight
        means = [np.average(losses[codes == g], weights=weight[codes == g]) for g in range(8)]
    else:
        rows = (losses * label_weight).mean(1)
        means = [np.average(rows[attribute == g], weights=row_weight[attribute == g]) for g in range(2)]
    q = np.exp(0.5 * np.array(means))
    assert objective == pytest.approx(q @ means / q.sum())


def test_without_step_all_subgroups_count_alike():
    X, y, against = draw(64, 0.7, 0)
    network = small_network(max_epochs=3, batch_size=64, precision="float64")
    robust = GroupDROClassifier(network, step_size=0).fit(X, y, subgroups=against)
    codes = 2 * y + against
    balanced = clone(network).fit(X, y, sample_weight=1 / np.bincount(codes)[codes])
    np.testing.assert_allclose(robust.predict_proba(X), balanced.predict_proba(X), rtol=1e-9)
    np.testing.assert_array_equal(robust.group_weights_, 0.25)


# -- the classifier ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1])
def test_worst_group_is_better_than_by_plain_training(seed):
    X, y, against = draw(1000, 0.95, seed)
    test = draw(2000, 0.5, 10 + seed)
    network = small_network(max_epochs=12, random_state=seed)
    plain = clone(network).fit(X, y)
    robust = GroupDROClassifier(network).fit(X, y, subgroups=against)
    assert worst_group(robust, *test) > worst_group(plain, *test) + 0.25
    adjusted = GroupDROClassifier(network, adjustment=3).fit(X, y, subgroups=against)
    rare = robust.group_weights_.index.str.endswith("True")
    assert adjusted.group_weights_[rare].sum() > max(0.5, robust.group_weights_[rare].sum())
    assert robust.group_weights_.sum() == pytest.approx(1)
    assert robust.group_sizes_.to_dict() == {
        f"y={label}, subgroup={flag}": int(((y == label) & (against == flag)).sum())
        for label in (0, 1)
        for flag in (False, True)
    }


def test_result_is_an_ordinary_classifier(tmp_path):
    X, y, against = draw(120, 0.8, 0)
    network = small_network(max_epochs=2)
    before = str(network.get_params())
    model = GroupDROClassifier(network).fit(X, y, subgroups=against)
    fitted = model.estimator_
    assert str(fitted.get_params()) == before == str(network.get_params())
    assert not hasattr(network, "net_")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    fitted.save(tmp_path / "model.zip")
    loaded = NeuralImageClassifier.load(tmp_path / "model.zip", module=network.module)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    fitted.set_params(warm_start=True).fit(X, y)  # goes on as plain training, without subgroups
    assert len(fitted.history_) == 4
    assert len(model.history_) == 2


def test_same_seed_same_result_and_nothing_is_changed():
    X, y, against = draw(120, 0.8, 0)
    copies = X.copy(), y.copy(), against.copy()
    models = [GroupDROClassifier(small_network(max_epochs=2)).fit(X, y, subgroups=against) for _ in range(2)]
    np.testing.assert_array_equal(*[model.predict_proba(X) for model in models])
    pd.testing.assert_series_equal(*[model.group_weights_ for model in models])
    for one, other in zip((X, y, against), copies):
        np.testing.assert_array_equal(one, other)


# -- where subgroups come from -----------------------------------------------------------------------------------------
def names_of(*args, **options):
    fit = {name: options.pop(name) for name in ("subgroups", "sample_weight") if name in options}
    network = small_network(options.pop("n_outputs", 2), max_epochs=1)
    return GroupDROClassifier(network, **options).fit(*args, **fit).group_weights_.index.tolist()


def test_sources_of_subgroups():
    X, y, against = draw(40, 0.6, 0)
    tube = pd.Series(np.where(against, "no", "yes"), name="tube")
    crossed = ["y=0, tube=no", "y=0, tube=yes", "y=1, tube=no", "y=1, tube=yes"]
    bunch = ImageBunch(X[:, None, None], target=y, tube=tube.to_numpy(), metadata=pd.DataFrame({"ward": tube}))
    assert names_of(X, y, subgroups=tube) == crossed
    assert names_of(bunch, attribute="tube") == crossed
    assert names_of(bunch, attribute="ward") == [name.replace("tube", "ward") for name in crossed]
    assert names_of(bunch, attribute="tube", cross_with_label=False) == ["no", "yes"]
    assert names_of(X, y) == ["y=0", "y=1"]
    # Combinations of label and attribute are not crossed with the label again.
    both = np.char.add(y.astype(str), tube.to_numpy().astype(str))
    assert names_of(X, y, subgroups=both) == ["0no", "0yes", "1no", "1yes"]
    labels = pd.DataFrame({"a": y, "b": 1 - y})
    assert names_of(X, labels) == ["a=0", "a=1", "b=0", "b=1"]
    assert names_of(X, labels, subgroups=tube)[:2] == ["a=0, tube=no", "a=0, tube=yes"]
    assert names_of(X, labels, subgroups=tube, cross_with_label=False) == ["no", "yes"]


def test_subgroups_of_a_miner():
    X, y, _ = draw(300, 0.95, 0)
    miner = BAMHardSampleMiner(small_network(), stage_one_epochs=15, stage_two_epochs=0).fit(X, y)
    model = GroupDROClassifier(small_network(max_epochs=1)).fit(X, y, subgroups=miner)
    hard = model.group_sizes_[[not name.endswith("not hard") for name in model.group_sizes_.index]]
    assert hard.sum() == miner.hard_mask_.sum()
    with_held_out = BAMHardSampleMiner(small_network(), stage_one_epochs=15, stage_two_epochs=1).fit(X, y)
    wrong = (with_held_out.sample_table_["label"] != with_held_out.sample_table_["prediction"]).sum()
    assert wrong > with_held_out.hard_mask_.sum()
    model.fit(X, y, subgroups=with_held_out)
    assert model.group_sizes_[[not name.endswith("not hard") for name in model.group_sizes_.index]].sum() == wrong
    with pytest.raises(ValueError, match="fitted on 300 rows, but X has 299"):
        model.fit(X[:-1], y[:-1], subgroups=miner)
    weight = (np.arange(len(y)) != 5).astype(float)
    partial = clone(miner).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="row 5 has no value"):
        model.fit(X, y, subgroups=partial)
    assert model.fit(X, y, subgroups=partial, sample_weight=weight).group_sizes_.sum() == len(y) - 1
    with pytest.raises(NotFittedError):
        model.fit(X, y, subgroups=BAMHardSampleMiner())
    with pytest.raises(ValueError, match="with hard_mask_, but is a LogisticRegression"):
        model.fit(X, y, subgroups=LogisticRegression().fit(X, y))


def test_rows_without_weight_need_no_subgroup():
    X, y, against = draw(60, 0.7, 0)
    subgroups = against.astype(object)
    subgroups[:10] = None
    weight = np.where(np.arange(60) < 10, 0.0, 1.0)
    model = GroupDROClassifier(small_network(max_epochs=1)).fit(X, y, subgroups=subgroups, sample_weight=weight)
    fewer = GroupDROClassifier(small_network(max_epochs=1)).fit(X[10:], y[10:], subgroups=against[10:])
    assert model.group_sizes_.sum() == 50
    np.testing.assert_allclose(model.predict_proba(X), fewer.predict_proba(X), rtol=1e-5)


def test_pipelines_and_early_stopping_with_patients():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    images = rng.normal(size=(60, 8, 8))
    bunch = ImageBunch(images, target=y, artifact=rng.integers(0, 2, 60), groups=np.arange(60) // 3)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=3, early_stopping=True, random_state=0)
    model = GroupDROClassifier(make_pipeline(FunctionTransformer(), network), attribute="artifact").fit(bunch)
    assert model.history_["valid_loss"].notna().all()
    assert model.estimator_[-1].criterion is None
    assert model.embed(bunch).shape == (60, 64)


def test_search_by_the_worst_subgroup():
    X, y, against = draw(240, 0.8, 0)
    bunch = ImageBunch(X[:, None, None], target=y, artifact=against)
    model = GroupDROClassifier(small_network(max_epochs=2), attribute="artifact")
    scorer = make_group_scorer("artifact")
    search = GridSearchCV(model, {"step_size": [0.01, 0.1], "estimator__lr": [0.01]}, scoring=scorer, cv=2)
    search.fit(bunch, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("target", ["text", "classes", "one logit"])
def test_kinds_of_target(target):
    X, y, against = draw(80, 0.7, 0)
    n_outputs = {"classes": 3, "one logit": 1}.get(target, 2)
    y = {"text": np.array(["no", "yes"])[y], "classes": np.arange(80) % 3}.get(target, y)
    network = small_network(n_outputs, max_epochs=1)
    model = GroupDROClassifier(network, adjustment=1.0).fit(X, y, subgroups=against)
    assert set(model.predict(X)) <= set(y)
    assert len(model.group_weights_) == 2 * len(set(y))


def test_bad_input():
    X, y, against = draw(40, 0.7, 0)
    model = GroupDROClassifier(small_network(max_epochs=1))
    with pytest.raises(ValueError, match="subgroups has 39 rows, but X has 40"):
        model.fit(X, y, subgroups=against[:-1])
    missing = against.astype(float)
    missing[3] = np.nan
    with pytest.raises(ValueError, match="row 3 has no value"):
        model.fit(X, y, subgroups=missing)
    with pytest.raises(ValueError, match="attribute='tube' is neither a field of the rows nor"):
        clone(model).set_params(attribute="tube").fit(X, y)
    with pytest.raises(ValueError, match="has a criterion of its own, CrossEntropy"):
        GroupDROClassifier(small_network(criterion=CrossEntropy())).fit(X, y)
    with pytest.raises(ValueError, match="must be a NeuralImageClassifier or a Pipeline"):
        GroupDROClassifier(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="but the classifier is a FrozenEstimator"):
        GroupDROClassifier(FrozenEstimator(small_network().fit(X, y))).fit(X, y)
    with pytest.raises(ValueError, match="'step_size' parameter"):
        GroupDROClassifier(step_size=-1).fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)
