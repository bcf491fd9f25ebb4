"""Between a penalty and the loss: strength, schedule, masks, random numbers, statistics."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.mitigation._balance import BalanceStrength, measure
from sklearn_shortcuts.mitigation._regularization import Regularization, untouched_statistics
from sklearn_shortcuts.neural import Penalty

from .decoys import Constant, InputGradients, decoys, network, weights_of
from .networks import make_batch


def term_of(penalty, **options):
    return Regularization(penalty, **{"strength": 1.0, **options}).build(5, 3, "multiclass")


def batch_of(epoch=1, **fields):
    batch = make_batch()
    return {**batch, "losses": torch.zeros(5, dtype=torch.float64), "epoch": epoch, **fields}


@pytest.fixture(autouse=True)
def nothing_seen():
    Constant.seen.clear()


def test_mean_over_annotated_rows():
    """Rows without a mask count 0, the others so much more that the mean over all rows is theirs."""
    values = term_of(Constant(value=2.0), strength=3.0, annotated_share=4 / 5)(nn.Identity(), batch_of())
    assert values.tolist() == [7.5, 7.5, 7.5, 7.5, 0.0]
    assert float(values.mean()) == 3.0 * 2.0


@pytest.mark.parametrize(
    ("warmup", "ramp", "before", "expected"),
    [
        (0, 0, 0, [1, 1, 1, 1]),
        (2, 0, 0, [0, 0, 1, 1]),
        (0, 3, 0, [0.25, 0.5, 0.75, 1]),
        (1, 1, 0, [0, 0.5, 1, 1]),
        (1, 1, 2, [0, 0, 0, 0.5]),
    ],
)
def test_schedule(warmup, ramp, before, expected):
    term = term_of(Constant(value=1.0), warmup_epochs=warmup, ramp_epochs=ramp, first_epoch=before)
    assert [float(term(nn.Identity(), batch_of(epoch))[0]) for epoch in range(1, 5)] == expected
    assert [term.strength_in(epoch) for epoch in range(1, 5)] == expected
    assert len(Constant.seen) == np.count_nonzero(expected)  # nothing is computed for nothing


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
@pytest.mark.parametrize(("given", "expected"), [("avoid", "attend"), ("attend", "avoid")])
def test_masks_are_inverted_for_a_penalty_that_expects_the_other_role(given, expected, dtype):
    batch = batch_of()
    batch["masks"] = batch["masks"].to(dtype)
    batch["masks"][1] = 0  # drawn, but empty: inverted it would be the whole image
    term_of(Constant(expected), mask_role=given)(nn.Identity(), batch)
    term_of(Constant(given), mask_role=given)(nn.Identity(), batch)
    inverted, same = Constant.seen
    assert same["has_mask"].tolist() == inverted["has_mask"].tolist() == [True, False, True, True, False]
    assert torch.equal(same["masks"], batch["masks"])
    for row in (0, 2, 3):
        assert torch.equal(inverted["masks"][row].double(), 1 - batch["masks"][row].double())


def test_an_empty_mask_counts_where_the_penalty_says_so():
    batch = batch_of()
    batch["masks"][1] = False
    penalty = Constant(value=1.0)
    penalty.uses_empty_masks = True
    assert term_of(penalty)(nn.Identity(), batch).tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    # Inverted it would be the whole image.
    assert term_of(penalty, mask_role="attend")(nn.Identity(), batch).tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]


def test_an_empty_mask_per_class_never_counts():
    batch = batch_of(class_masks=torch.zeros(5, 3, 8, 8, dtype=torch.bool), has_class_masks=torch.ones(5).bool())
    batch["class_masks"][0, 1, 2, 2] = True
    penalty = Constant(value=1.0)
    penalty.uses_empty_masks = True
    term = term_of(penalty, mask_fields=("class_masks", "has_class_masks"))
    assert term(nn.Identity(), batch).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_masks_per_class_are_handed_over_as_masks_and_missing_ones_are_nan():
    batch = batch_of()
    masks = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3
    masks[0, 1] = False
    masks[2] = False
    fields = {"class_masks": masks, "has_class_masks": torch.tensor([True, True, True, True, False])}
    del batch["masks"], batch["has_mask"]
    term = term_of(Constant("attend"), mask_fields=("class_masks", "has_class_masks"))
    assert term.spec.fields == ("class_masks", "has_class_masks")
    values = term(nn.Identity(), {**batch, **fields})
    assert (values > 0).tolist() == [True, True, False, True, False]
    (seen,) = Constant.seen
    assert seen["masks"][0, 1].isnan().all()
    torch.testing.assert_close(seen["masks"][1], 1 - masks[1].double())


def test_a_penalty_draws_from_a_sequence_of_its_own():
    term = term_of(Drawing())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.rand(4)
        torch.manual_seed(3)
        first = torch.rand(2), term(nn.Identity(), batch_of())
        second = torch.rand(2), term(nn.Identity(), batch_of())
        assert torch.equal(torch.cat([first[0], second[0]]), expected)
        assert not torch.equal(first[1], second[1])
        torch.manual_seed(3)
        again = term_of(Drawing())
        assert torch.equal(again(nn.Identity(), batch_of()), first[1])


class Drawing(Penalty):
    fields = ("masks", "has_mask")
    mask_role = None

    def build(self, n_samples, n_outputs, kind):
        return lambda module, batch: torch.rand(5, dtype=torch.float64)


def test_statistics_of_batch_normalization_stay_those_of_the_images():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    state = {name: value.clone() for name, value in module.state_dict().items()}
    X = torch.full((4, 3), 5.0) + torch.arange(4)[:, None]
    with untouched_statistics(module):
        inside = module(X)
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert torch.equal(module(X), inside)
    assert int(module[0].num_batches_tracked) == 1
    assert module[0].momentum == 0.1


def test_wrong_number_of_values_is_named():
    class Wrong(Penalty):
        def build(self, n_samples, n_outputs, kind):
            return lambda module, batch: torch.zeros(2)

    with pytest.raises(ValueError, match=r"Wrong must give one value per row, shape \(5,\), but gave \(2,\)"):
        term_of(Wrong())(nn.Identity(), batch_of())


@pytest.mark.parametrize("watches", [True, False])
def test_watch_is_there_if_the_penalty_has_it_and_counts(watches):
    class Watching(Penalty):
        def build(self, n_samples, n_outputs, kind):
            built = nn.Module()
            if watches:
                built.watch = lambda module: "watching"
            return built

    assert hasattr(term_of(Watching()), "watch") == watches
    assert not hasattr(term_of(Watching(), strength=0.0), "watch")
    if watches:
        assert term_of(Watching()).watch(None) == "watching"


# -- balance -----------------------------------------------------------------------------------------------------------
def fit_balanced(penalty, ratio=7.0, *, first_epoch=1, **parameters):
    bunch = decoys(32, masked=range(8))
    model = network(max_epochs=1, **parameters).fit(bunch)
    before = weights_of(model)
    spec = Regularization(penalty, strength=None, annotated_share=0.25, first_epoch=first_epoch)
    model.set_params(penalty=spec, callbacks=[("balance", BalanceStrength(ratio))], warm_start=True)
    return model, bunch, before


def test_balanced_strength_is_the_ratio_of_means_over_annotated_rows():
    model, bunch, _ = fit_balanced(InputGradients(), precision="float64")
    part = bunch[:8]  # the rows with masks; the small network has batch normalization, hence evaluation with all rows
    module = model.module_
    X = torch.from_numpy(np.asarray(bunch, dtype=np.float64))[:, None].requires_grad_()
    model.set_params(batch_size=32)
    module.train()
    with untouched_statistics(module):
        losses = nn.functional.cross_entropy(module(X), torch.from_numpy(bunch.target), reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), X)
    module.eval()
    penalty = (gradient[:8, 0] * torch.from_numpy(part.masks)).square().sum((1, 2)).mean()
    loss = max(float(losses.detach()[:8].mean()), 0.05 * math.log(2))
    strength = model.fit(bunch).net_.penalty_.strength
    assert strength == pytest.approx(7.0 * loss / float(penalty), rel=1e-6)


def test_measuring_changes_nothing_of_the_training():
    balanced, bunch, _ = fit_balanced(InputGradients())
    balanced.fit(bunch)
    strength = balanced.net_.penalty_.strength
    given, _, _ = fit_balanced(InputGradients())
    given.set_params(penalty=Regularization(InputGradients(), strength=strength, annotated_share=0.25, first_epoch=1))
    given.fit(bunch)
    np.testing.assert_array_equal(weights_of(balanced), weights_of(given))


def test_a_new_network_learns_before_strengths_are_balanced():
    """The penalty of a network that gives the same probability to all classes tells nothing."""
    bunch = decoys(64)
    spec = Regularization(InputGradients(), strength=None)
    model = network(max_epochs=12, lr=0.01, penalty=spec, callbacks=[("balance", BalanceStrength(10.0))]).fit(bunch)
    penalized = model.history_["train_penalty"] > 0
    start = model.net_.penalty_.start
    assert penalized.tolist() == [epoch > start for epoch in model.history_["epoch"]]
    assert 0 < start <= 4
    assert start == 4 or model.history_["train_criterion"][start - 1] < 0.5 * math.log(2)


def test_a_penalty_of_zero_has_no_scale():
    model, bunch, _ = fit_balanced(Constant(value=0.0))
    assert model.fit(bunch).net_.penalty_.strength == 1.0


def test_measure_counts_rows_with_a_mark():
    model, bunch, _ = fit_balanced(Constant(value=3.0))
    model.fit(bunch)
    fields = {"y": bunch.target, "masks": bunch.masks, "has_mask": bunch.has_mask}
    reader = model._reader(model._check_images(bunch), fields)
    assert measure(model.net_, reader, model.net_.penalty_)[1] == 3.0
