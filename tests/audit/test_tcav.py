"""Derivatives along concepts against linear heads, finite differences, captum, and edits of the network."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier
from sklearn_shortcuts.audit import tcav_score
from sklearn_shortcuts.latent import ConceptSubspace, ConceptVector, LayerFeatures
from sklearn_shortcuts.neural import SmallCNN
from sklearn_shortcuts.neural._layer_hook import LayerHook
from tests.explain.networks import assert_same_state, build, state_of

N, C = 12, 4


def network():
    return nn.Sequential(
        nn.Conv2d(1, C, 3), nn.ReLU(), nn.Conv2d(C, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 3)
    ).double()


@pytest.fixture
def module():
    return build(network)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(N, 8, 8))


@pytest.fixture
def direction():
    v = np.random.default_rng(1).normal(size=C)
    return v / np.linalg.norm(v)


def scores_with(module, layer, X, change):
    """Logits where something is added to what a layer gives."""
    handle = module.get_submodule(layer).register_forward_hook(lambda part, inputs, output: output + change)
    with torch.no_grad():
        logits = module(torch.from_numpy(X)[:, None])
    handle.remove()
    return logits.numpy()


def test_derivatives_are_those_of_finite_differences(module, images, direction):
    step, targets = 1e-5, np.arange(N) % 3
    score = tcav_score(module, images, direction, targets, layer="1")
    change = torch.from_numpy(step * direction)[:, None, None]
    slopes = (scores_with(module, "1", images, change) - scores_with(module, "1", images, -change)) / (2 * step)
    expected = slopes[np.arange(N), targets] / 36
    np.testing.assert_allclose(score.derivatives, expected, rtol=1e-6, atol=1e-9)
    assert score.value == (expected > 0).mean()
    assert score.magnitude == pytest.approx(np.abs(expected).mean(), rel=1e-6)
    assert score.delta == abs(score.value - 0.5)
    assert score.standard_error == pytest.approx(np.sqrt(score.value * (1 - score.value) / N))
    assert (score.n, score.n_ties, float(score)) == (N, 0, score.value)
    # Position by position.
    signs = []
    for place in np.ndindex(6, 6):
        change = torch.zeros(C, 6, 6, dtype=torch.float64)
        change[:, *place] = torch.from_numpy(step * direction)
        slopes = (scores_with(module, "1", images, change) - scores_with(module, "1", images, -change)) / (2 * step)
        signs.append(slopes[np.arange(N), targets] > 0)
    assert score.position_value == np.mean(signs)


def test_a_linear_head_gives_its_weights(images):
    module = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double())
    weights = module[1].weight.detach().numpy()
    v = np.random.default_rng(2).normal(size=64)
    for target in range(3):
        score = tcav_score(module, images, v, target, layer="last")
        np.testing.assert_allclose(score.derivatives, weights[target] @ v, rtol=1e-12)
        assert score.value == float(weights[target] @ v > 0)
        cosine = abs(weights[target] @ v) / np.linalg.norm(weights[target]) / np.linalg.norm(v)
        assert score.relative_magnitude == pytest.approx(cosine, rel=1e-12)
        assert tcav_score(module, images, -v, target, layer="0").value == 1 - score.value


def test_captum_agrees(module, images, direction, tmp_path):
    concept = pytest.importorskip("captum.concept")
    from captum.attr import LayerGradientXActivation

    class Fixed(concept.Classifier):
        """The concept's vector at every position, in place of a trained one."""

        def train_and_eval(self, dataloader, **options):
            return {"accs": torch.tensor(1.0)}

        def weights(self):
            v = np.repeat(direction, 36)
            return torch.from_numpy(np.stack([v, -v]))

        def classes(self):
            return [0, 1]

    X = torch.from_numpy(images)[:, None]
    sets = [[concept.Concept(number, str(number), [X[:4]]) for number in (0, 1)]]
    peer = concept.TCAV(
        module,
        ["1"],
        classifier=Fixed(),
        layer_attr_method=LayerGradientXActivation(module, None, multiply_by_inputs=False),
        save_path=str(tmp_path),
    )
    for target in range(3):
        found = peer.interpret(X, sets, target=target)
        expected = next(iter(found.values()))["1"]
        score = tcav_score(module, images, direction, target, layer="1")
        assert score.value == pytest.approx(expected["sign_count"][0].item(), abs=1e-6)


def test_an_edit_of_the_layer_counts(module, images, direction):
    before = tcav_score(module, images, direction, 1, layer="1")
    v = torch.from_numpy(direction)

    def project(values):
        return values - (values.mean(2) @ v)[:, None, None] * v[:, None]

    edited = build(network)
    LayerHook(project, image_ndim=4).attach(edited, "1")
    after = tcav_score(edited, images, direction, 1, layer="1")
    assert before.n == N
    assert before.magnitude > 1e-4
    assert (after.n, after.n_ties, after.value, after.delta) == (0, N, 0.5, 0)
    assert after.magnitude < 1e-12
    assert np.isnan(after.standard_error)
    # Another direction still has the influence that finite differences through the edit show.
    other = np.roll(direction, 1)
    step = 1e-5
    logits = []
    for sign in (1, -1):
        moved = build(network)
        change = torch.from_numpy(sign * step * other)[:, None]
        LayerHook(lambda values, change=change: project(values + change), image_ndim=4).attach(moved, "1")
        with torch.no_grad():
            logits.append(moved(torch.from_numpy(images)[:, None])[:, 1].numpy())
    expected = (logits[0] - logits[1]) / (2 * step) / 36
    np.testing.assert_allclose(
        tcav_score(edited, images, other, 1, layer="1").derivatives, expected, rtol=1e-5, atol=1e-9
    )


def test_the_head_may_be_edited_too(images):
    module = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    v = np.random.default_rng(2).normal(size=64)
    u = torch.from_numpy(v / np.linalg.norm(v)).float()
    LayerHook(lambda values: values - (values[:, :, 0] @ u)[:, None, None] * u[:, None], 4).attach(module, "last")
    score = tcav_score(module, images, v, 0, layer="last")
    assert (score.n, score.n_ties) == (0, N)  # in float32 the rest is rounding, not a coin


def test_twins_give_each_row_its_own_direction(module, images):
    patched = images.copy()
    patched[:, :3, :3] += 2
    score = tcav_score(module, patched, target=2, layer="1", X_without=images)
    step, expected = 1e-5, []
    with torch.no_grad():
        with_it, without = (module[:2](torch.from_numpy(X)[:, None]) for X in (patched, images))
    for sign in (1, -1):
        expected.append(scores_with(module, "1", patched, sign * step * (with_it - without))[:, 2])
    slopes = (expected[0] - expected[1]) / (2 * step) / 36
    np.testing.assert_allclose(score.derivatives, slopes, rtol=1e-5, atol=1e-9)
    assert 0 < score.position_value < 1
    with pytest.raises(ValueError, match="gives the same for all rows with and without"):
        tcav_score(module, images, target=2, layer="1", X_without=images)
    with pytest.raises(ValueError, match="X_without has 5 rows, but X has 12"):
        tcav_score(module, images, target=2, layer="1", X_without=images[:5])


def test_random_directions_tell_which_influence_is_rare():
    module = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).double())
    X = np.random.default_rng(0).normal(size=(N, 8, 8))
    along = module[1].weight.detach().numpy()[0]
    strong = tcav_score(module, X, along, 0, layer="last", n_random=99, random_state=0)
    assert strong.magnitude_pvalue == 0.01
    assert strong.pvalue == 1  # every direction has the same sign in all rows
    random = np.random.default_rng(3).normal(size=64)
    assert tcav_score(module, X, 7 * random, 0, layer="last", n_random=99, random_state=0).magnitude_pvalue > 0.05
    again = tcav_score(module, X, along, 0, layer="last", n_random=99, random_state=0)
    assert again.pvalue == strong.pvalue


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    images, y = rng.normal(0, 0.3, size=(60, 16, 16)), np.arange(60) % 3
    artifact = (rng.random(60) < np.where(y == 1, 0.9, 0.1)).astype(int)
    images[artifact == 1, :4, :4] += 2
    return ImageBunch(images, artifact=artifact), np.array(["a", "b", "c"])[y]


def test_classes_labels_and_one_logit_by_name(study):
    X, y = study
    concept = ConceptVector(layer="features.2")
    multi = NeuralImageClassifier(SmallCNN(width=4), max_epochs=3, random_state=0).fit(X, y)
    features = LayerFeatures(multi, "features.2").fit(X).transform(X)
    concept.fit(features, X.artifact)
    before = state_of(multi.module_)
    by_name = tcav_score(multi, X, concept, "b")
    assert_same_state(multi.module_, before)
    assert by_name.layer == "features.2"
    per_row = tcav_score(multi, X, concept, np.full(60, "b"), batch_size=7)
    np.testing.assert_allclose(per_row.derivatives, by_name.derivatives, rtol=1e-4, atol=1e-7)
    subspace = ConceptSubspace(layer="features.2").fit(features, X.artifact)
    np.testing.assert_allclose(tcav_score(multi, X, subspace, "b").derivatives, by_name.derivatives, rtol=1e-9)
    one = NeuralImageClassifier(SmallCNN(width=4), max_epochs=2, random_state=0).fit(X, y == "b")
    concept = ConceptVector(layer="features.2").fit(LayerFeatures(one, "features.2").fit(X).transform(X), X.artifact)
    yes, no = (tcav_score(one, X, concept, target) for target in (True, False))
    if one.module_(torch.zeros(1, 1, 16, 16)).shape[1] == 1:
        np.testing.assert_allclose(no.derivatives, -yes.derivatives, rtol=1e-6)
    labels = np.column_stack([y == "a", y == "b"]).astype(int)
    several = NeuralImageClassifier(SmallCNN(width=4), max_epochs=2, random_state=0).fit(X, labels)
    assert tcav_score(several, X, concept, 1).derivatives.shape == (60,)


def test_what_is_refused(module, images, direction):
    with pytest.raises(ValueError, match="concept: its vector has 3 features, but layer '1' has 4 channels"):
        tcav_score(module, images, direction[:3], 0, layer="1")
    with pytest.raises(ValueError, match="layer: the concept names none"):
        tcav_score(module, images, direction, 0)
    with pytest.raises(ValueError, match="give a concept, or X_without"):
        tcav_score(module, images, None, 0, layer="1")
    with pytest.raises(ValueError, match="leave X_without out"):
        tcav_score(module, images, direction, 0, layer="1", X_without=images, n_random=3)
    X, A = np.random.default_rng(0).normal(size=(20, C)), np.random.default_rng(1).integers(0, 2, (20, 2))
    with pytest.raises(ValueError, match="concept: it holds 2 concepts"):
        tcav_score(module, images, ConceptSubspace().fit(X, A), 0, layer="1")
