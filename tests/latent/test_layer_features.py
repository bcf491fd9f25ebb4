"""Images to pooled activations, compared with layers that are called one after another."""

import pickle
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, ROIMasker
from sklearn_shortcuts.latent import LayerFeatures
from sklearn_shortcuts.neural import SmallCNN
from tests.explain.networks import assert_same_state, state_of

N = 13


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(12, 5),
        nn.ReLU(inplace=True),
        nn.Linear(5, 2),
    )


class Tokens(nn.Module):
    """A transformer on four patches and a class token."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def embed(self, X):
        tokens = self.patches(X).flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)

    def forward(self, X):
        return self.head(self.block(self.embed(X))[:, 0])


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.move = nn.Identity()
        self.head = nn.Linear(64, 2)

    def forward(self, X):
        return self.head(self.move(X.permute(0, 2, 3, 1)).flatten(1))


def fitted(module, *shape, precision="float64"):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, *shape)), np.arange(N) % 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = module()
    network = NeuralImageClassifier(module, precision=precision, max_epochs=1, batch_size=5, random_state=0)
    return network.fit(X, y), X, y


@pytest.fixture(scope="module")
def cnn():
    return fitted(convolutional, 8, 8)


@pytest.fixture(scope="module")
def transformer():
    return fitted(Tokens, 8, 8)


def through(network, X, *parts):
    """Outputs of the layers ``parts``, called in turn."""
    network.module_.eval()
    with torch.no_grad():
        values = torch.cat([batch["X"] for batch in network.iter_batches(X)])
        for part in parts:
            values = part(values)
    return values.numpy()


@pytest.mark.parametrize("pool", ["mean", "max", "mean_max", "flat"])
def test_maps(cnn, pool):
    network, X, _ = cnn
    expected = through(network, X, *network.module_[:2])  # what the next layer overwrites
    expected = {
        "mean": expected.mean((2, 3)),
        "max": expected.max((2, 3)),
        "mean_max": np.hstack([expected.mean((2, 3)), expected.max((2, 3))]),
        "flat": expected.reshape(N, -1),
    }[pool]
    features = LayerFeatures(network, "1", pool=pool).fit(X)
    found = features.transform(X)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert found.shape == (N, features.n_features_out_) == (N, len(features.get_feature_names_out()))


def test_names(cnn):
    network, X, _ = cnn
    names = {
        pool: LayerFeatures(network, ["3", "last"], pool=pool).fit(X).get_feature_names_out().tolist()
        for pool in ("mean", "mean_max", "flat")
    }
    last = [f"last:{channel}" for channel in range(5)]
    assert names["mean"] == ["3:0", "3:1", "3:2", *last]
    assert names["mean_max"] == ["3:mean:0", "3:mean:1", "3:mean:2", "3:max:0", "3:max:1", "3:max:2", *last]
    assert names["flat"] == [*(f"3:{channel}:{place}" for channel in range(3) for place in range(4)), *last]
    frame = LayerFeatures(network, "3").set_output(transform="pandas").fit_transform(X)
    assert frame.columns.tolist() == ["3:0", "3:1", "3:2"]


def test_the_last_layer_is_what_embed_gives(cnn):
    network, X, _ = cnn
    found = LayerFeatures(network).fit(X).transform(X)
    np.testing.assert_allclose(found, network.embed(X), rtol=1e-6)
    head = network.module_[-1]
    logits = found @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], network.decision_function(X), rtol=1e-10)


def test_several_layers_take_one_pass(cnn):
    network, X, _ = cnn
    features = LayerFeatures(network, ["6", "0"]).fit(X)
    passes = []
    hook = network.module_.register_forward_hook(lambda *_: passes.append(1))
    try:
        found = features.transform(X)
    finally:
        hook.remove()
    assert len(passes) == 3  # of 13 rows, 5 at a time
    apart = [LayerFeatures(network, layer).fit_transform(X) for layer in ("6", "0")]
    np.testing.assert_array_equal(found, np.hstack(apart))


def test_tokens(transformer):
    network, X, _ = transformer
    expected = through(network, X, network.module_.embed, network.module_.block)
    for pool, values in {
        "token": expected[:, 0],
        "mean": expected.mean(1),
        "max": expected.max(1),
        "flat": expected.transpose(0, 2, 1).reshape(N, -1),
    }.items():
        found = LayerFeatures(network, "block", pool=pool).fit_transform(X)
        np.testing.assert_allclose(found, values, rtol=1e-7, atol=1e-10)
    both = LayerFeatures(network, ["block", "last"], pool="token").fit_transform(X)
    np.testing.assert_allclose(both[:, :4], both[:, 4:], rtol=1e-12)  # the head takes the token
    found = LayerFeatures(network, "block.norm2", pool="token").fit_transform(X)  # within the block, its last layer
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-7, atol=1e-10)


def test_signals_have_their_channels_first():
    rng = np.random.default_rng(1)
    X = ImageBunch(rng.normal(size=(6, 2, 9)), signal=True)
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(21, 2))
    network = NeuralImageClassifier(module, precision="float64", max_epochs=1, random_state=0).fit(X, [0, 1] * 3)
    found = LayerFeatures(network, "0").fit_transform(X)
    np.testing.assert_allclose(found, through(network, X, network.module_[0]).mean(2), rtol=1e-12)


def test_the_axis_of_the_channels_can_be_told():
    network, X, _ = fitted(ChannelsLast, 8, 8)
    found = LayerFeatures(network, "move", channel_axis=-1).fit_transform(X)
    np.testing.assert_allclose(found, through(network, X).mean((2, 3)), rtol=1e-12)
    assert LayerFeatures(network, "move").fit_transform(X).shape == (N, 8)


def test_the_network_stays_as_it_was(cnn):
    network, X, _ = cnn
    network.module_.train()
    network.module_[1].eval()
    before = state_of(network.module_)
    features = LayerFeatures(network, ["1", "last"]).fit(X)
    first = features.transform(X)
    np.testing.assert_array_equal(features.transform(X), first)  # no dropout, no statistics of the batch
    assert_same_state(before, state_of(network.module_))
    bad = np.full((2, 8, 8), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        features.transform(bad)
    assert_same_state(before, state_of(network.module_))


def test_batches_decide_nothing(cnn):
    network, X, _ = cnn
    one, all_rows = (LayerFeatures(network, "0", batch_size=size).fit_transform(X) for size in (1, 100))
    np.testing.assert_allclose(one, all_rows, rtol=1e-12)


def test_other_threads_may_predict_meanwhile(cnn):
    network, X, _ = cnn
    network.module_.eval()  # as after any prediction
    features = LayerFeatures(network, "0", batch_size=1).fit(X)
    expected = features.transform(X)
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            network.predict(X + 5)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        found = [features.transform(X) for _ in range(3)]
    finally:
        stop.set()
        other.join()
    for values in found:
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_pipelines_and_searches_keep_the_fitted_network(cnn):
    network, X, y = cnn
    pipeline = make_pipeline(LayerFeatures(network), LogisticRegression())
    assert clone(pipeline)[0].estimator is network
    search = GridSearchCV(pipeline, {"layerfeatures__layers": ["last", "0", ["0", "6"]]}, cv=2)
    assert search.fit(X, y).predict(X).shape == (N,)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_earlier_steps_and_lazy_bunches():
    rng = np.random.default_rng(2)
    masks = np.zeros((8, 8, 8), dtype=bool)
    masks[:, 2:6, 2:6] = True
    X, y = ImageBunch(rng.random((8, 8, 8)), masks=masks), np.arange(8) % 2
    network = NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=1, random_state=0)
    pipeline = make_pipeline(ROIMasker(), network).fit(X, y)
    found = LayerFeatures(pipeline).fit_transform(X)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pipeline[-1].embed(ROIMasker().fit_transform(X)))


def test_stored_features(cnn, tmp_path):
    network, X, _ = cnn
    features = LayerFeatures(network, ["0", "last"]).fit(X)
    expected = features.transform(X)
    stored = features.store(X, tmp_path / "features.npy")
    assert isinstance(stored, np.memmap)
    assert not stored.flags.writeable
    np.testing.assert_array_equal(stored, expected)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), expected)


class Failing:
    """Images that can be read until a row."""

    def __init__(self, images, last):
        self.images, self.last = images, last
        self.shape, self.dtype = images.shape, images.dtype
        self.read = []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        rows = np.arange(len(self.images))[rows]
        if np.max(rows, initial=0) >= self.last:
            raise OSError("the disk is gone")
        self.read.extend(np.ravel(rows).tolist())
        return self.images[rows]


def test_an_interrupted_file_is_gone_on_with(cnn, tmp_path):
    network, X, _ = cnn
    features = LayerFeatures(network).fit(X)
    path = tmp_path / "features.npy"
    with pytest.raises(OSError, match="the disk is gone"):
        features.store(ImageBunch(Failing(X, 10)), path)
    assert np.load(path).shape == (N, 5)
    whole = Failing(X, N + 1)
    np.testing.assert_allclose(features.store(ImageBunch(whole), path), features.transform(X), rtol=1e-12)
    written = sorted(set(range(N)) - set(whole.read))
    assert written  # rows of the first call are not read again, but for some that are checked
    assert set(range(10, N)) <= set(whole.read)
    complete = Failing(X, N + 1)
    features.store(ImageBunch(complete), path)
    assert len(complete.read) <= 8


def test_a_file_of_something_else_is_refused(cnn, tmp_path):
    network, X, _ = cnn
    path = tmp_path / "features.npy"
    features = LayerFeatures(network).fit(X)
    features.store(X, path)
    with pytest.raises(ValueError, match=r"row 0 of 'features\.npy' holds the features of another image or network"):
        features.store(X[::-1], path)
    with pytest.raises(ValueError, match=r"holds other features \(shape differ\)"):
        features.store(X[:4], path)
    with pytest.raises(ValueError, match=r"holds other features \(layers, shape differ\)"):
        LayerFeatures(network, "0").fit(X).store(X, path)
    np.save(tmp_path / "mine.npy", X)
    with pytest.raises(ValueError, match="was not written by LayerFeatures"):
        features.store(X, tmp_path / "mine.npy")
    with pytest.raises(ValueError, match=r"path must end in \.npy"):
        features.store(X, tmp_path / "features.h5")


@pytest.fixture(scope="module")
def labelled(cnn):
    network, X, y = cnn
    return network, ImageBunch(X, target=y)


def relevances(network, X, part, y):
    """Gradient times activation of the layers up to ``part``, by torch alone."""
    module = network.module_.eval()
    values = torch.cat([batch["X"] for batch in network.iter_batches(X)])
    values = module[:part](values).detach().requires_grad_()
    scores = module[part:](values.clone())[range(len(X)), y]
    return (values * torch.autograd.grad(scores.sum(), values)[0]).detach().numpy()


@pytest.mark.parametrize("pool", ["sum", "mean", "max", "mean_max", "flat"])
def test_relevance(cnn, labelled, pool):
    network, X = labelled
    expected = relevances(network, cnn[1], 2, cnn[2])
    expected = {
        "sum": expected.sum((2, 3)),
        "mean": expected.mean((2, 3)).clip(0),
        "max": expected.max((2, 3)).clip(0),
        "mean_max": np.hstack([expected.mean((2, 3)), expected.max((2, 3))]).clip(0),
        "flat": expected.reshape(N, -1),
    }[pool]
    features = LayerFeatures(network, "1", kind="relevance", pool=pool).fit(X)
    found = features.transform(X)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.shape[1] == len(features.get_feature_names_out())
    normalized = LayerFeatures(network, "1", kind="relevance", pool=pool, normalize=True).fit_transform(X)
    total = np.abs(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(normalized, expected / np.where(total > 0, total, 1), rtol=1e-9, atol=1e-12)


def test_relevance_of_several_layers_side_by_side(labelled):
    network, X = labelled
    for attribution in ("gradient_x_activation", "integrated_gradients", "lrp"):
        options = {"kind": "relevance", "pool": "sum", "attribution": attribution, "normalize": True, "steps": 3}
        options["conservation_tol"] = np.inf
        both = LayerFeatures(network, ["6", "0"], **options).fit_transform(X)
        apart = [LayerFeatures(network, layer, **options).fit_transform(X) for layer in ("6", "0")]
        np.testing.assert_allclose(both, np.hstack(apart), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.abs(both[:, :5]).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("attribution", ["gradient_x_activation", "lrp", "integrated_gradients"])
def test_relevance_of_what_the_logits_are_made_from(labelled, attribution):
    network, X = labelled
    features = through(network, X, *network.module_[:-1])
    weights = network.module_[-1].weight.detach().numpy()
    options = {"kind": "relevance", "attribution": attribution, "conservation_tol": np.inf}
    expected = features * weights[X.get("target")]
    if attribution == "integrated_gradients":
        expected -= through(network, np.zeros((1, 8, 8)), *network.module_[:-1]) * weights[X.get("target")]
    found = LayerFeatures(network, **options).fit_transform(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    predicted = LayerFeatures(network, target="predicted", **options).fit_transform(X)
    other = LayerFeatures(network, target=0, **options).fit_transform(X)
    if attribution != "integrated_gradients":
        np.testing.assert_allclose(predicted, features * weights[network.predict(X)], rtol=1e-4, atol=1e-9)
        np.testing.assert_allclose(other, features * weights[0], rtol=1e-4, atol=1e-9)


def test_relevance_by_zennit(labelled):
    pytest.importorskip("zennit")
    network, X = labelled
    ours, theirs = (
        LayerFeatures(
            network, ["2", "4"], kind="relevance", pool="flat", attribution=attribution, conservation_tol=np.inf
        ).fit_transform(X)
        for attribution in ("lrp", "zennit")
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_relevance_of_tokens(transformer):
    network, X, y = transformer
    X = ImageBunch(X, target=y)
    options = {"kind": "relevance", "pool": "token"}
    both = LayerFeatures(network, ["block", "last"], **options).fit_transform(X)
    np.testing.assert_allclose(both[:, :4], both[:, 4:], rtol=1e-10)  # the head takes the token and nothing else
    summed = LayerFeatures(network, "block", kind="relevance", pool="sum").fit_transform(X)
    np.testing.assert_allclose(summed, both[:, :4], rtol=1e-10)
    assert both.any()


def test_relevance_in_signals():
    rng = np.random.default_rng(1)
    X = ImageBunch(rng.normal(size=(6, 2, 9)), signal=True, target=[0, 1] * 3)
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(21, 2))
    network = NeuralImageClassifier(module, precision="float64", max_epochs=1, random_state=0).fit(X, [0, 1] * 3)
    found = LayerFeatures(network, "0", kind="relevance", pool="sum").fit_transform(X)
    weights = network.module_[-1].weight.detach().numpy()[[0, 1] * 3]
    expected = through(network, X, network.module_[:2]) * weights
    np.testing.assert_allclose(found, expected.reshape(6, 3, 7).sum(2), rtol=1e-10)


@pytest.mark.parametrize("attribution", ["gradient_x_activation", "integrated_gradients", "lrp", "zennit"])
def test_relevance_leaves_the_network_as_it_was(labelled, attribution):
    if attribution == "zennit":
        pytest.importorskip("zennit")
    network, X = labelled
    module = network.module_
    module.train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    module[6].weight.grad = torch.ones_like(module[6].weight)
    hook = module[2].register_forward_hook(lambda *_: None)
    options = {"kind": "relevance", "attribution": attribution, "steps": 2, "conservation_tol": np.inf}
    try:
        before = state_of(module)
        features = LayerFeatures(network, ["0", "last"], **options).fit(X)
        first = features.transform(X)
        np.testing.assert_array_equal(features.transform(X), first)
        assert_same_state(before, state_of(module))
        bad = ImageBunch(np.full((2, 8, 8), np.nan), target=[0, 1])
        with pytest.raises(ValueError, match="NaN"):
            features.transform(bad)
        failing = ImageBunch(Failing(np.asarray(X.images), 10), target=X.get("target"))
        with pytest.raises(OSError, match="the disk is gone"):
            features.transform(failing)
        assert_same_state(before, state_of(module))
    finally:
        hook.remove()
        module[0].weight.requires_grad_(True)
        module[6].weight.grad = None


def test_stored_relevance_is_gone_on_with(labelled, tmp_path):
    network, X = labelled
    path = tmp_path / "relevance.npy"
    options = {"kind": "relevance", "pool": "sum", "attribution": "lrp", "conservation_tol": np.inf}
    features = LayerFeatures(network, ["0", "last"], **options).fit(X)
    with pytest.raises(OSError, match="the disk is gone"):
        features.store(ImageBunch(Failing(np.asarray(X.images), 10), target=X.get("target")), path)
    np.testing.assert_allclose(features.store(X, path), features.transform(X), rtol=1e-10)
    for changed, names in [
        ({"pool": "max"}, "pool"),
        ({"normalize": True}, "normalize"),
        ({"target": "predicted"}, "target"),
        ({"attribution": "gradient_x_activation"}, "attribution"),
        ({"kind": "activation"}, "kind"),
    ]:
        with pytest.raises(ValueError, match=rf"holds other features \({names}"):
            LayerFeatures(network, ["0", "last"], **(options | changed)).fit(X).store(X, path)
    relabelled = X.with_fields(target=1 - X.get("target"))
    with pytest.raises(ValueError, match=r"row 0 of .* holds the features of another image"):
        features.store(relabelled, path)


def test_lost_relevance_is_told(labelled):
    network, X = labelled
    with pytest.warns(UserWarning, match=r"the relevances of \d+ of 13 rows do not add up"):
        LayerFeatures(
            network, "0", kind="relevance", attribution="integrated_gradients", steps=1, conservation_tol=1e-9
        ).fit_transform(X)


def test_bare_networks(cnn):
    network, X, y = cnn
    bare = network.module_
    bare.train()
    before = state_of(bare)
    for options in ({}, {"kind": "relevance", "pool": "sum", "target": 1}):
        expected = LayerFeatures(network, ["0", "last"], **options).fit_transform(X)
        for rows in (X, torch.from_numpy(X), ImageBunch(X)):
            features = LayerFeatures(bare, ["0", "last"], batch_size=4, **options).fit(rows)
            np.testing.assert_allclose(features.transform(rows), expected, rtol=1e-9, atol=1e-12)
    assert_same_state(before, state_of(bare))
    assert clone(features).estimator is bare
    true = LayerFeatures(bare, kind="relevance").fit_transform(ImageBunch(X, target=y))
    np.testing.assert_allclose(true, LayerFeatures(network, kind="relevance").fit_transform(ImageBunch(X, target=y)))


def test_relevance_that_is_refused(cnn, labelled):
    network, X, y = cnn
    with pytest.raises(ValueError, match="target='true' needs an ImageBunch with the field 'target'"):
        LayerFeatures(network, kind="relevance").fit(X, y)
    with pytest.raises(ValueError, match="target must be 'true', 'predicted' or one class, got an array"):
        LayerFeatures(network, kind="relevance", target=[0] * N).fit(X)
    with pytest.raises(ValueError, match=r"target=7 is not among \[0, 1\]"):
        LayerFeatures(network, kind="relevance", target=7).fit(X)
    with pytest.raises(ValueError, match="propagates logits only"):
        LayerFeatures(network, kind="relevance", attribution="lrp", target="sum_log_prob").fit(X)
    features = LayerFeatures(network, kind="relevance").fit(labelled[1])
    with pytest.raises(ValueError, match="target='true' needs an ImageBunch"):
        features.transform(X)


def test_what_is_refused(cnn, transformer):
    network, X, _ = cnn
    with pytest.raises(ValueError, match=r"layers?='blok' is no layer of Tokens; near names are \['block'"):
        LayerFeatures(transformer[0], "blok").fit(X)
    with pytest.raises(ValueError, match="layers: 'unused' took no part in the forward pass"):
        LayerFeatures(transformer[0], "unused").fit(X)
    with pytest.raises(ValueError, match="pool='token': layer '0' gives no tokens"):
        LayerFeatures(network, "0", pool="token").fit(X)
    with pytest.raises(ValueError, match="names a layer twice"):
        LayerFeatures(network, ["0", "0"]).fit(X)
    with pytest.raises(ValueError, match="name at least one"):
        LayerFeatures(network, []).fit(X)
    with pytest.raises(ValueError, match="X has 0 rows"):
        LayerFeatures(network).fit(X[:0])
    with pytest.raises(NotFittedError):
        LayerFeatures(clone(network)).fit(X)
    with pytest.raises(NotFittedError):
        LayerFeatures(network).transform(X)
    with pytest.raises(TypeError, match="holds none"):
        LayerFeatures(LogisticRegression().fit(X[:, 0], np.arange(N) % 2)).fit(X)
