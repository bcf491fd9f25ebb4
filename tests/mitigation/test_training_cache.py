"""Keys of fits: the same for the same fit, another for whatever changes its result."""

import os
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.images import ImageFiles
from sklearn_shortcuts.mitigation._training_cache import Training, fit_once, training_key
from sklearn_shortcuts.neural import SmallCNN

from .decoys import decoys, network, weights_of


def key(classifier=None, bunch=None, y=None, fields=(), **options):
    bunch = decoys(8) if bunch is None else bunch
    return training_key(
        Training(
            network() if classifier is None else classifier, bunch, bunch.target if y is None else y, options, fields
        )
    )


def double(images):
    return images * 2


SAME = {
    "again": {},
    "verbosity": {"classifier": network(verbose=1, n_threads=1, warm_start=True)},
    "y as a list": {"y": decoys(8).target.tolist()},
    "view": {"bunch": decoys(8)[np.arange(8)]},
    "masks nobody asks for": {"bunch": decoys(8, masked=range(3))},
    "default spelled out": {"classifier": network(momentum=0.9)},
}
OTHER = {
    "parameter": {"classifier": network(lr=0.1)},
    "parameter of the module": {"classifier": network(module=SmallCNN(width=4, depth=1))},
    "seed": {"classifier": network(random_state=1)},
    "pixel": {"bunch": decoys(8).map_images(double)},
    "order": {"bunch": decoys(8)[::-1]},
    "fewer rows": {"bunch": decoys(8)[:6]},
    "labels": {"y": 1 - decoys(8).target},
    "types of labels": {"y": decoys(8).target.astype(str)},
    "weights": {"sample_weight": np.arange(8.0)},
    "weights of the bunch": {"bunch": decoys(8).with_fields(sample_weight=np.ones(8))},
    "masks of the criterion": {"fields": ("masks",)},
    "whether there is one": {"fields": ("has_mask",)},
    "fewer of them": {"fields": ("has_mask",), "bunch": decoys(8, masked=range(3))},
}


@pytest.mark.parametrize("change", SAME)
def test_same_fit_same_key(change):
    assert key(**SAME[change]) == key()


def test_different_fits_have_different_keys():
    keys = {name: key(**change) for name, change in OTHER.items()}
    assert len({*keys.values(), key()}) == len(OTHER) + 1


def test_key_does_not_depend_on_the_process():
    program = """
        from tests.mitigation.test_training_cache import key, Net
        from tests.mitigation.decoys import network
        print(key(), key(network(module=Net())))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    with torch.random.fork_rng(devices=[]):
        assert result.stdout.split() == [key(), key(network(module=Net()))]


class Net(nn.Sequential):
    def __init__(self, value=0.5):
        super().__init__(nn.Flatten(), nn.Linear(144, 2))
        nn.init.constant_(self[1].weight, value)
        nn.init.constant_(self[1].bias, value)


def test_weights_of_a_network_count():
    with torch.random.fork_rng(devices=[]):
        assert key(network(module=Net())) == key(network(module=Net()))
        assert key(network(module=Net())) != key(network(module=Net(0.25)))


@pytest.mark.parametrize("scale", [2.0, torch.tensor([1.0, 2.0])])
def test_what_a_network_keeps_besides_its_weights_counts(scale):
    def scaled(scale):
        module = Net()
        module.scale = scale
        return key(network(module=module))

    with torch.random.fork_rng(devices=[]):
        assert scaled(scale) == scaled(scale)
        assert scaled(scale) != scaled(2 * scale)
        frozen = Net()
        frozen[1].weight.requires_grad_(False)
        assert key(network(module=frozen)) != key(network(module=Net()))


def test_code_of_a_class_outside_the_library_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for value in (1, 2):
        path = tmp_path / "nets_of_a_user.py"
        path.write_text(f"from torch import nn\nclass Mine(nn.Flatten):\n    value = {value}{' ' * value}\n")
        sys.modules.pop("nets_of_a_user", None)
        import nets_of_a_user

        keys.append(key(network(module=nets_of_a_user.Mine)))
    assert keys[0] != keys[1]


def test_files_are_known_by_path_size_and_time_and_not_read(tmp_path):
    for row in range(4):
        np.save(tmp_path / f"{row}.npy", np.full((6, 6), row, dtype=np.uint8))
    files = ImageFiles([f"{row}.npy" for row in range(4)], root=tmp_path, size=6, channels=1)
    bunch = ImageBunch(files, target=[0, 1, 0, 1])
    before = key(bunch=bunch)
    assert key(bunch=bunch[[0, 1, 2, 3]]) == before
    assert key(bunch=bunch[[1, 0, 2, 3]]) != before
    os.utime(tmp_path / "2.npy", ns=(1, 1))
    after = key(bunch=bunch)
    assert after != before
    (tmp_path / "2.npy").write_bytes(b"\0" * (tmp_path / "2.npy").stat().st_size)
    os.utime(tmp_path / "2.npy", ns=(1, 1))
    assert key(bunch=bunch) == after  # what the file holds was not looked at


def test_rows_of_a_function_of_the_user_are_known_by_their_values():
    bunch = decoys(8)
    ones = bunch.map_images(lambda images: images + 1)
    assert key(bunch=ones) == key(bunch=bunch.map_images(lambda images: 1 + images))
    assert key(bunch=ones) != key(bunch=bunch.map_images(lambda images: images + 2))


def test_only_which_rows_belong_together_is_kept_of_patients():
    patients = np.array(["Anna", "Bert"] * 4)
    stopping = network(early_stopping=True)
    assert key(stopping, groups=patients) == key(stopping, groups=pd.Series(np.array([7, 3] * 4)))
    assert key(stopping, groups=patients) != key(stopping, groups=np.array(["Anna"] * 4 + ["Bert"] * 4))
    assert key(groups=patients) == key(groups=np.arange(8))  # without early stopping nobody asks


def test_nothing_of_the_rows_can_be_read_in_the_cache(tmp_path, capsys):
    bunch = decoys(8).with_fields(groups=[f"patient-{row}" for row in range(8)], target=["well", "ill"] * 4)
    memory = joblib.Memory(tmp_path, verbose=50)
    options = {"groups": np.array([f"patient-{row}" for row in range(8)])}
    fit_once(Training(network(), bunch, np.array(["well", "ill"] * 4), options), memory)
    assert "patient-" not in capsys.readouterr().out
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "output.pkl" for path in files)
    for path in files:
        assert b"patient-" not in path.read_bytes()


@pytest.mark.parametrize("as_path", [str, lambda path: path, joblib.Memory], ids=["str", "path", "memory"])
def test_a_fit_is_done_once_and_comes_back_as_it_was(tmp_path, monkeypatch, as_path):
    memory = as_path(tmp_path / "kept") if as_path is not joblib.Memory else joblib.Memory(tmp_path / "kept", verbose=0)
    bunch = decoys(24)

    def fit(memory):
        return fit_once(Training(network(), bunch, bunch.target, {}), memory)

    fresh, first = fit(None), fit(memory)

    def refuse(*args, **kwargs):
        raise AssertionError("fitted again")

    monkeypatch.setattr(type(first), "fit", refuse)
    again = fit(memory)
    loud = fit_once(Training(network(verbose=1, n_threads=2), bunch, bunch.target, {}), memory)
    assert (loud.verbose, loud.n_threads, again.verbose, again.n_threads) == (1, 2, 0, None)
    for other in (first, again):
        np.testing.assert_array_equal(weights_of(other), weights_of(fresh))
        assert other.history_.drop(columns="seconds").equals(fresh.history_.drop(columns="seconds"))
    monkeypatch.undo()
    for other in (fresh, first, again):
        other.set_params(warm_start=True).fit(bunch)  # the same random numbers from here on
    np.testing.assert_array_equal(weights_of(first), weights_of(fresh))
    np.testing.assert_array_equal(weights_of(again), weights_of(fresh))


def test_a_parameter_that_cannot_be_pickled_is_said_and_trained_without(tmp_path):
    bunch = decoys(8)
    nothing = Callback()
    nothing.on_epoch_begin = lambda *args, **kwargs: None
    classifier = network(max_epochs=1, callbacks=[nothing])
    with pytest.warns(UserWarning, match="cannot be kept, because a parameter cannot be pickled"):
        fitted = fit_once(Training(classifier, bunch, bunch.target, {}), tmp_path)
    assert fitted.predict(bunch).shape == (8,)
