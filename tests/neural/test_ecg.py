import pytest
import torch

from sklearn_shortcuts.neural import ECGResNet


@pytest.mark.parametrize("shape", [(12, 1000), (1, 7), (2, 1)])
@pytest.mark.parametrize("expansion", [1, 4])
def test_outputs_and_gradients(build, noise, shape, expansion):
    network = build(ECGResNet((1, 2), width=6, expansion=expansion, kernel_size=3).build, shape, 3)
    outputs = build(network, noise(4, *shape))
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_default_is_as_deep_and_wide_as_xresnet1d50(build, noise):
    network = build(ECGResNet().build, (12, 1000), 23)
    assert [len(getattr(network, f"stage{stage}")) for stage in (1, 2, 3, 4)] == [3, 4, 6, 3]
    convolutions = sum(isinstance(layer, torch.nn.Conv1d) for layer in network.modules())
    assert convolutions == 3 + 16 * 3 + 1  # stem, bottlenecks, the one shortcut that changes the width
    assert network.head.in_features == 512


def test_stages_can_be_hooked_and_keep_what_they_gave(build, noise):
    network = build(ECGResNet((1, 1, 1), width=4).build, (3, 256), 2).eval()
    seen, before = {}, {}

    def remember(name):
        def hook(layer, inputs, output):
            seen[name], before[name] = output, output.clone()

        return hook

    for name in ("stem", "stage1", "stage2", "stage3", "pool"):
        network.get_submodule(name).register_forward_hook(remember(name))
    outputs = network(noise(2, 3, 256))
    assert {name: tuple(value.shape[1:]) for name, value in seen.items()} == {
        "stem": (4, 64),
        "stage1": (16, 64),
        "stage2": (16, 32),
        "stage3": (16, 16),
        "pool": (32,),
    }
    assert all(torch.equal(seen[name], before[name]) for name in seen)
    maps = seen["stage3"]
    torch.testing.assert_close(seen["pool"], torch.cat([maps.max(dim=2).values, maps.mean(dim=2)], dim=1))
    torch.testing.assert_close(outputs, network.head(seen["pool"]))


def test_blocks_start_as_the_identity(build, noise):
    network = build(ECGResNet((2,), width=4).build, (3, 64), 2).eval()
    rows = noise(2, 16, 9).abs()
    torch.testing.assert_close(network.stage1[1](rows), rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ()}, "layers must be one or more positive integers"),
        ({"layers": (1, 0)}, "layers must be one or more positive integers"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
    ],
)
def test_parameters_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ECGResNet(**options).build((12, 100), 2)
