import copy
import os
import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, get_model
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from sklearn_shortcuts.neural import MobileNetV2, SmallCNN, TorchvisionModule, WeightsReport, load_weights
from sklearn_shortcuts.neural._weights import _interpolate_positions


class Planted:
    """What a malicious file holds: a command that runs when the pickle is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def small(n_channels=1, n_outputs=2, **options):
    return SmallCNN(width=4, depth=2, **options).build((n_channels, 16, 16), n_outputs)


def vision_transformer(image_size, n_outputs=2):
    network = VisionTransformer(image_size, 8, 1, 2, 16, 32, num_classes=n_outputs)
    nn.init.normal_(network.heads.head.weight)
    return network


@pytest.fixture
def saved(tmp_path):
    def saved(content, name="net.pth"):
        torch.save(content.state_dict() if isinstance(content, nn.Module) else content, tmp_path / name)
        return tmp_path / name

    return saved


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        dict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
        lambda state: {name: value.half() for name, value in state.items()},
    ],
    ids=["plain", "dict", "state_dict", "model", "checkpoint", "parallel", "compiled", "lightning", "half"],
)
def test_forms_of_files(build, saved, wrap):
    source, target = build(small, seed=1), build(small)
    report = load_weights(target, saved(wrap(source.state_dict())), strict=True)
    for name, value in target.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert report.loaded == tuple(source.state_dict())
    assert not report.adapted
    assert not report.skipped
    assert target.head.weight.dtype == torch.float32


def test_head_for_other_outputs_keeps_its_initial_weights(build, saved):
    source, target = build(small, n_outputs=9, seed=1), build(small)
    head = target.head.weight.clone()
    report = load_weights(target, saved(source))
    assert torch.equal(target.head.weight, head)
    assert torch.equal(target.features[1][0].weight, source.features[1][0].weight)
    assert report.skipped["head.bias"] == "head: (9,) in the file, (2,) here"
    assert str(report).endswith(
        "net.pth: 8 tensors loaded, 0 adapted, 2 skipped (head.weight: head: (9, 128) in the file, (2, 128) here, "
        "head.bias: head: (9,) in the file, (2,) here)"
    )


def test_a_layer_of_the_head_is_loaded_whole_or_not_at_all(build, saved):
    source = build(lambda: SmallCNN(width=4, depth=2, grid=2).build((1, 16, 16), 2), seed=1)
    target = build(small)
    bias = target.head.bias.clone()
    report = load_weights(target, saved(source))  # same number of outputs, other number of features
    assert torch.equal(target.head.bias, bias)
    assert report.skipped["head.bias"] == "head: belongs to a layer of another shape"
    assert "head.bias" not in report.loaded


def test_file_without_a_head(build, saved):
    source, target = build(small, seed=1), build(small)
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("head.")}
    report = load_weights(target, saved(state))
    assert report.skipped == dict.fromkeys(("head.weight", "head.bias"), "head: not in the file")
    with pytest.raises(ValueError, match=r"2 missing in the file \(head.weight, head.bias\)"):
        load_weights(target, saved(state), strict=True)


def test_plain_head_into_the_exbl_head_and_back(build, saved):
    plain = build(get_model, "mobilenet_v2", num_classes=10, width_mult=0.1, seed=1)
    ours = build(MobileNetV2(hidden=8, width_mult=0.1).build, (3, 32, 32), 4)
    report = load_weights(ours, saved(plain))
    assert torch.equal(ours.features[18][0].weight, plain.features[18][0].weight)
    assert {name.split(".")[0] for name in report.skipped} == {"classifier"}
    assert "file only" in report.skipped["classifier.1.weight"]
    other = build(get_model, "mobilenet_v2", num_classes=10, width_mult=0.1)
    load_weights(other, saved(ours))
    assert torch.equal(other.features[18][0].weight, plain.features[18][0].weight)


@pytest.mark.parametrize("n_channels", [1, 3, 5])
def test_color_weights_answer_gray_images_as_if_repeated(build, noise, saved, n_channels):
    color = build(get_model, "resnet18", num_classes=2, seed=1).eval()
    network = build(TorchvisionModule("resnet18").build, (n_channels, 32, 32), 2).eval()
    report = load_weights(network, saved(color))
    rows = noise(2, 1, 32, 32)
    expected = color(rows.repeat(1, 3, 1, 1))
    torch.testing.assert_close(network(rows.repeat(1, n_channels, 1, 1)), expected, atol=1e-5, rtol=1e-4)
    how = {"conv1.weight": f"kernels for 3 channels spread over {n_channels}"}
    assert report.adapted == ({} if n_channels == 3 else how)
    if n_channels == 1:
        repeat = build(TorchvisionModule("resnet18", stem="repeat").build, (1, 32, 32), 2).eval()
        assert not load_weights(repeat, saved(color), strict=True).adapted
        torch.testing.assert_close(network(rows), repeat(rows), atol=1e-5, rtol=1e-4)


def test_only_the_stem_is_spread(build, saved):
    source, target = build(small, seed=1), build(small)
    state = source.state_dict()
    state["features.1.0.weight"] = state["features.1.0.weight"][:, :2]
    with pytest.raises(ValueError, match=r"1 of another shape \(features.1.0.weight: \(8, 2, 3, 3\) in the file"):
        load_weights(target, saved(state))
    state = source.state_dict()
    state["features.0.0.weight"] = torch.zeros(4, 3, 5, 5)
    with pytest.raises(ValueError, match=r"1 of another shape \(features.0.0.weight: \(4, 3, 5, 5\) in the file"):
        load_weights(target, saved(state))
    with pytest.raises(ValueError, match="of another shape"):
        load_weights(target, saved(build(small, n_channels=3)), strict=True)
    grouped = build(lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(16, 2)))
    plain = build(lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 2)))
    with pytest.raises(ValueError, match=r"1 of another shape \(0.weight"):
        load_weights(grouped, saved(plain))


@pytest.mark.parametrize(("old", "new"), [(32, 16), (16, 48), (32, 32)])
def test_positions_are_interpolated_as_torchvision_does(build, noise, saved, old, new):
    source = build(vision_transformer, old, seed=1)
    target = build(vision_transformer, new)
    report = load_weights(target, saved(source))
    state = interpolate_embeddings(new, 8, OrderedDict(copy.deepcopy(source.state_dict())))
    torch.testing.assert_close(target.encoder.pos_embedding, state["encoder.pos_embedding"])
    expected = f"interpolated from {old // 8} x {old // 8} to {new // 8} x {new // 8} patches"
    assert report.adapted == ({} if old == new else {"encoder.pos_embedding": expected})
    peer = build(vision_transformer, new)
    peer.load_state_dict(state)
    rows = noise(2, 3, new, new)
    torch.testing.assert_close(target.eval()(rows), peer.eval()(rows))


def test_interpolated_positions_keep_a_linear_field():
    side = torch.linspace(0, 1, 4, dtype=torch.float64)
    field = torch.stack([side[:, None].expand(4, 4), side[None].expand(4, 4)], dim=-1).reshape(1, 16, 2)
    token = torch.full((1, 1, 2), 7.0, dtype=torch.float64)
    result = _interpolate_positions(torch.cat([token, field], dim=1), 4, 2)
    corners = torch.tensor([[7.0, 7], [0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    torch.testing.assert_close(result[0], corners)


def test_names_of_files_published_before_layers_were_renamed(build, saved):
    source = build(get_model, "densenet121", num_classes=2, seed=1)
    old = {}
    for name, value in source.state_dict().items():
        if "denselayer" in name:
            for part in ("norm1", "norm2", "conv1", "conv2"):
                name = name.replace(part, f"{part[:-1]}.{part[-1]}")
        if not name.endswith("num_batches_tracked"):
            old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    target = build(TorchvisionModule("densenet121").build, (3, 32, 32), 2)
    report = load_weights(target, saved(old), strict=True)
    assert all(reason == "not in the file; it only counts batches" for reason in report.skipped.values())
    for name, parameter in target.named_parameters():
        assert torch.equal(parameter, source.get_parameter(name))

    transformer = build(vision_transformer, 16, seed=1)
    old = {
        name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): value
        for name, value in transformer.state_dict().items()
    }
    target = build(vision_transformer, 16)
    assert len(load_weights(target, saved(old), strict=True).loaded) == len(old)


def test_auxiliary_classifiers_of_the_file_are_left_out(build, saved):
    source = build(small, seed=1)
    state = {**source.state_dict(), "aux1.fc.weight": torch.zeros(3)}
    report = load_weights(build(small), saved(state))
    assert list(report.skipped) == ["aux1.fc.weight"]
    with pytest.raises(ValueError, match=r"1 not in the network \(aux1.fc.weight\)"):
        load_weights(build(small), saved(state), strict=True)


def test_everything_that_does_not_fit_is_listed_and_nothing_is_loaded(build, saved):
    source, target = build(small, seed=1), build(small)
    state = source.state_dict()
    state["extra.weight"] = state.pop("features.1.0.bias")
    state["features.1.1.weight"] = torch.zeros(3)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(ValueError) as caught:
        load_weights(target, saved(state))
    message = str(caught.value)
    assert "do not fit Sequential: 1 missing in the file (features.1.0.bias)" in message
    assert "1 not in the network (extra.weight)" in message
    assert "1 of another shape (features.1.1.weight: (3,) in the file, (8,) here)" in message
    assert "another architecture" not in message
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_another_architecture_is_called_so(build, saved):
    path = saved(build(get_model, "resnet18", num_classes=2))
    message = (
        r"8 missing in the file \(features.0.0.weight, .*\.\.\.\), 12\d not in the network .*another architecture\?"
    )
    with pytest.raises(ValueError, match=message):
        load_weights(build(small), path)


def test_only_a_head_is_not_enough(build, saved):
    state = {"head.weight": torch.zeros(5, 3)}
    with pytest.raises(ValueError, match="another architecture"):
        load_weights(build(small), saved(state))
    head = build(lambda: nn.Sequential(OrderedDict(head=nn.Linear(3, 2))))
    with pytest.raises(ValueError, match="no tensor fits"):
        load_weights(head, saved(state))


def test_networks_without_a_head_are_loaded_whole(build, saved):
    source, target = nn.LayerNorm(3), nn.LayerNorm(3)
    nn.init.constant_(source.weight, 2.0)
    assert load_weights(target, saved(source)).loaded == ("weight", "bias")
    assert torch.equal(target.weight, source.weight)


def test_weights_that_are_not_finite_are_refused(build, saved):
    state = build(small).state_dict()
    state["features.0.0.bias"][1] = torch.nan
    with pytest.raises(ValueError, match=r"features.0.0.bias holds values that are not finite"):
        load_weights(build(small), saved(state))


def test_planted_code_is_not_run(build, saved, tmp_path):
    planted = tmp_path / "planted"
    path = saved({"features.0.0.weight": torch.zeros(4, 1, 3, 3), "x": Planted(str(planted))})
    with pytest.raises(ValueError, match=r"were refused: .* could run code hidden in it"):
        load_weights(build(small), path)
    assert not planted.exists()
    torch.load(path, weights_only=False)  # the file is a working attack
    assert planted.exists()


def test_other_pickle_protocols_are_refused_without_a_warning(build, tmp_path):
    torch.save(build(small).state_dict(), tmp_path / "net.pth", pickle_protocol=4)
    with pytest.raises(ValueError, match="were refused: the file is damaged, or holds more than tensors"):
        load_weights(build(small), tmp_path / "net.pth")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 broken", b"\x80\x04N."])
def test_broken_files_are_refused(build, tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"net.pth (were refused|are no state_dict)"):
        load_weights(build(small), tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({"epoch": 3, "lr": 0.1}, "the file holds epoch, lr"),
        (torch.zeros(2), "the file holds Tensor"),
        ({}, "no state_dict"),
    ],
)
def test_files_without_a_state_dict_are_refused(build, saved, content, held):
    with pytest.raises(ValueError, match=held):
        load_weights(build(small), saved(content))


@pytest.mark.parametrize(
    "weights",
    [
        "DEFAULT",
        "imagenet",
        "IMAGENET1K_V1",
        "ResNet18_Weights.DEFAULT",
        "https://example.org/net.pth",
        ResNet18_Weights.DEFAULT,
        True,
    ],
)
def test_nothing_is_downloaded(weights):
    with pytest.raises(ValueError, match="never does; give the path of a local file"):
        load_weights(nn.LayerNorm(1), weights)


def test_a_file_may_be_called_like_published_weights(build, saved, tmp_path, monkeypatch):
    saved(build(small, seed=1), "imagenet")
    monkeypatch.chdir(tmp_path)
    assert load_weights(build(small), "imagenet").loaded


def test_missing_files_and_other_types(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none.pth"):
        load_weights(nn.LayerNorm(1), tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_weights(nn.LayerNorm(1), tmp_path)
    with pytest.raises(TypeError, match="must be the path of a local file"):
        load_weights(nn.LayerNorm(1), 3)


def test_safetensors(build, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    source, target = build(small, seed=1), build(small)
    safetensors.save_file(source.state_dict(), tmp_path / "net.safetensors")
    assert load_weights(target, tmp_path / "net.safetensors").loaded == tuple(source.state_dict())
    assert torch.equal(target.head.weight, source.head.weight)
    (tmp_path / "net.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="were refused"):
        load_weights(target, tmp_path / "net.safetensors")


def test_safetensors_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "net.safetensors").write_bytes(b"")
    with pytest.raises(ImportError, match="needs the package safetensors"):
        load_weights(nn.LayerNorm(1), tmp_path / "net.safetensors")


def test_gradients_and_frozen_state_survive_loading(build, saved):
    target = build(small)
    target.features[0][0].weight.requires_grad_(False)
    load_weights(target, saved(build(small, seed=1)))
    assert not target.features[0][0].weight.requires_grad
    assert target.head.weight.requires_grad


def test_report_of_several():
    report = WeightsReport("f", ("a", "b"), {"c": "how"}, dict.fromkeys("defg", "why"))
    assert str(report) == "f: 2 tensors loaded, 1 adapted (c: how), 4 skipped (d: why, e: why, f: why, ...)"
