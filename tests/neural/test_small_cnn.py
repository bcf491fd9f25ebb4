import pickle

import pytest
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_shortcuts.neural import ECGResNet, ManufacturerCNN, MobileNetV2, ModuleSpec, SmallCNN, TorchvisionModule

SPECS = [SmallCNN(), ManufacturerCNN(), MobileNetV2(), TorchvisionModule("resnet18"), ECGResNet()]


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 2), (1, 1, 30), (3, 64, 48), (5, 7, 7), (1, 2), (12, 1), (12, 101)]
)
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_any_shape_gives_outputs_and_gradients_everywhere(build, noise, shape, norm):
    network = build(SmallCNN(width=4, norm=norm).build, shape, 3)
    outputs = network(noise(4, *shape))
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert network.head.weight.grad.abs().sum() > 0


def test_rows_do_not_see_their_batch_with_group_norm(build, noise):
    rows = noise(6, 1, 16, 16)
    group = build(SmallCNN(width=4).build, (1, 16, 16), 2)
    torch.testing.assert_close(group(rows)[:1], group(rows[:1]))
    batch = build(SmallCNN(width=4, norm="batch").build, (1, 16, 16), 2)
    assert not torch.allclose(batch(rows)[:2], batch(rows[:2]), atol=1e-4)


def test_position_is_visible_to_the_linear_layer(build):
    network = build(SmallCNN(width=4, depth=2).build, (1, 32, 32), 2).eval()
    rows = torch.zeros(2, 1, 32, 32)
    rows[0, 0, 10:14, 10:14] = 1
    rows[1, 0, 18:22, 18:22] = 1  # the same patch elsewhere: a global average could not tell
    first, second = network(rows)
    assert not torch.allclose(first, second, atol=1e-4)
    pooled = network.pool(network.features(rows)).mean(dim=(2, 3))
    torch.testing.assert_close(pooled[0], pooled[1])


def test_width_depth_and_grid_shape_the_network(build):
    network = build(SmallCNN(width=5, depth=2, grid=3).build, (2, 40, 20), 7)
    assert [block[0].out_channels for block in network.features] == [5, 10]
    assert network.head.in_features == 10 * 3 * 3
    assert network.head.out_features == 7
    signal = build(SmallCNN(width=5, depth=1, grid=8).build, (2, 9), 7)
    assert signal.head.in_features == 5 * 5  # ceil(9 / 2) cells, fewer than the grid asks for


def test_same_seed_same_weights(build, noise):
    one, two, other = (build(SmallCNN().build, (1, 8, 8), 2, seed=seed) for seed in (3, 3, 4))
    rows = noise(2, 1, 8, 8)
    assert torch.equal(one(rows), two(rows))
    assert not torch.equal(one(rows), other(rows))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_descriptions_are_scikit_learn_objects(spec):
    assert clone(spec).get_params() == spec.get_params()
    assert repr(spec).startswith(type(spec).__name__ + "(")
    assert pickle.loads(pickle.dumps(spec)).get_params() == spec.get_params()
    for name, value in spec.get_params().items():
        assert getattr(type(spec)(**{name: value}), name) is value


@pytest.mark.parametrize(
    "spec",
    [
        SmallCNN(width=0),
        SmallCNN(depth=1.5),
        SmallCNN(grid=0),
        SmallCNN(norm="layer"),
        ManufacturerCNN(dropout=1.0),
        MobileNetV2(hidden=0),
        MobileNetV2(width_mult=0),
        TorchvisionModule(stem="sum"),
        TorchvisionModule(options=[1]),
        ECGResNet(expansion=2),
    ],
    ids=repr,
)
def test_parameters_are_checked_when_the_network_is_built(spec):
    with pytest.raises(InvalidParameterError, match="parameter of"):
        spec.build((12, 100) if isinstance(spec, ECGResNet) else (1, 32, 32), 2)


@pytest.mark.parametrize("shape", [(8,), (1, 2, 3, 4), (1, 0, 4), (1, 2.0, 4)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match="input_shape must be"):
        SmallCNN().build(shape, 2)


@pytest.mark.parametrize("n_outputs", [0, 2.0, None])
def test_number_of_outputs_is_checked(n_outputs):
    with pytest.raises(ValueError, match="n_outputs must be a positive integer"):
        SmallCNN().build((1, 8, 8), n_outputs)


@pytest.mark.parametrize(
    ("spec", "shape", "wanted"),
    [
        (ManufacturerCNN(), (12, 100), "images"),
        (MobileNetV2(), (12, 100), "images"),
        (TorchvisionModule(), (12, 100), "images"),
        (ECGResNet(), (1, 32, 32), "signals"),
    ],
)
def test_images_and_signals_are_told_apart(spec, shape, wanted):
    with pytest.raises(ValueError, match=f"takes {wanted}"):
        spec.build(shape, 2)


def test_a_description_without_build_says_so():
    with pytest.raises(NotImplementedError, match="implement _build"):
        ModuleSpec().build((1, 8, 8), 2)
