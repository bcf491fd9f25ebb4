"""Penalty on how much the outputs change along a concept's directions in a layer."""

import contextlib
import functools
import warnings

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.autograd import forward_ad
from torch.nn.functional import cosine_similarity

from ..neural._plain_normalization import plain_normalization
from ..neural._runtime import own_random_state
from ..neural._second_derivatives import fast_second_derivatives
from ..neural._structure import main_output
from ._balance import measure
from ._layer_penalty import LayerPenalty, LayerWatcher, spread, still_statistics

_LOG_FLOOR = 1e-5  # of the probabilities, as published


class LatentGradientPenalty(LayerPenalty):
    """Penalty of :class:`RRClArCClassifier`; not public.

    Parameters
    ----------
    layer, image_ndim, channel_axis : str, int and {None, 1, -1}
        As in :class:`LayerPenalty`.
    directions : ndarray of shape (n_directions, n_channels)
        Orthonormal directions; values are sums over them.
    target : {"all", "random", "true", "max", "log_prob"}
        What is differentiated.
    aggregation : {"mean", "position"}
        Whether gradients are averaged over positions before they are compared with a direction.
    norm : {"l2", "l1"}
        Whether derivatives are squared, or their absolute value is taken.
    cosine : bool
        Whether derivatives are divided by the length of the gradient.
    counted : ndarray of bool of shape (n,), default=None
        Rows whose values count; those of others are 0. None means all.
    """

    def __init__(
        self, layer, image_ndim, channel_axis=None, *, directions, target, aggregation, norm, cosine, counted=None
    ):
        super().__init__(layer, image_ndim, channel_axis)
        self.directions = directions
        self.target = target
        self.aggregation = aggregation
        self.norm = norm
        self.cosine = cosine
        self.counted = counted

    def build(self, n_samples, n_outputs, kind):
        """Make the callable, see :meth:`Penalty.build`."""
        along = self.aggregation == "mean" and not self.cosine
        return (DirectionalDerivatives if along else LayerGradients)(self, kind)


class DirectionalDerivatives(LayerWatcher):
    """What the outputs change by when the layer's output moves along a direction, at all positions alike.

    The derivatives come with the forward pass of training, by forward-mode differentiation. Where the derivatives of an
    operation cannot be differentiated in turn, as those of softmax in torch, they come from two backward passes.

    Parameters
    ----------
    spec : LatentGradientPenalty
        Description.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.

    Attributes
    ----------
    forward_mode : bool
        Whether forward-mode differentiation is used.
    """

    def __init__(self, spec, kind):
        super().__init__(spec)
        _load_forward_mode()
        self.kind = kind
        self.forward_mode = True
        self.directions = torch.from_numpy(spec.directions)
        self._seen = None

    @contextlib.contextmanager
    def watch(self, module):
        """Differentiate the forward pass along the first direction."""
        with super().watch(module), self._differentiate(module, self.directions[0]):
            yield

    def __call__(self, module, batch):
        """Penalties, shape (n,)."""
        values = self._values(self._derivatives(batch["logits"], self.directions[0]), batch)
        for direction in self.directions[1:]:
            # As in the pass that was watched, apart from dropout.
            with still_statistics(module), self._differentiate(module, direction):
                logits = main_output(module(batch["X"]))
            values = values + self._values(self._derivatives(logits, direction), batch)
        return self._counted(values, batch)

    def _counted(self, values, batch):
        if self.spec.counted is None:
            return values
        counted = torch.from_numpy(self.spec.counted)[batch["index"].cpu()].to(values.device)
        return torch.where(counted, values, 0)

    def _differentiate(self, module, direction):
        return self._with_tangent(module, direction) if self.forward_mode else self._with_leaf(module)

    @contextlib.contextmanager
    def _with_tangent(self, module, direction):
        def start(values):
            # What came along another path before would count twice: a layer's last use is the one that counts.
            values = forward_ad.unpack_dual(values).primal
            return forward_ad.make_dual(values, spread(direction, values))

        def stop(_, inputs, outputs):
            dual = forward_ad.unpack_dual(main_output(outputs))
            self._seen = dual.tangent
            return (dual.primal, *outputs[1:]) if isinstance(outputs, tuple) else dual.primal

        self._seen = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(plain_normalization())
            stack.enter_context(forward_ad.dual_level())
            stack.callback(self.hook(start).attach(module, self.spec.layer).remove)
            stack.callback(module.register_forward_hook(stop).remove)
            yield

    @contextlib.contextmanager
    def _with_leaf(self, module):
        def start(values):
            self._seen = values if values.requires_grad else values.detach().requires_grad_()
            return self._seen.clone()  # which the next layer may overwrite

        self._seen = None
        with fast_second_derivatives(), plain_normalization():
            handle = self.hook(start).attach(module, self.spec.layer)
            try:
                yield
            finally:
                handle.remove()

    def _take(self):
        seen, self._seen = self._seen, None
        if seen is None:
            raise ValueError(
                f"layer={self.spec.layer!r} takes no part in the network's outputs; name a layer that it goes through"
            )
        return seen

    def _derivatives(self, logits, direction):
        """Derivatives of the outputs along a direction, shape (n, n_outputs)."""
        seen = self._take()
        if self.forward_mode:
            return seen.to(logits.dtype)
        factors = torch.zeros_like(logits, requires_grad=True)
        (gradient,) = torch.autograd.grad(logits, seen, factors, create_graph=True)
        (derivatives,) = torch.autograd.grad(gradient, factors, spread(direction, seen), create_graph=True)
        return derivatives

    def _values(self, derivatives, batch):
        """Penalties from the derivatives along one direction."""
        target, power = self.spec.target, torch.square if self.spec.norm == "l2" else torch.abs
        if target == "all":
            return power(derivatives).sum(1)
        return power((derivatives * output_factors(target, self.kind, batch)).sum(1))


class LayerGradients(DirectionalDerivatives):
    """The variants for which the gradient itself is needed, position by position.

    Parameters
    ----------
    spec : LatentGradientPenalty
        Description.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    """

    def __init__(self, spec, kind):
        super().__init__(spec, kind)
        self.forward_mode = False

    def __call__(self, module, batch):
        """Penalties, shape (n,)."""
        seen, logits = self._take(), batch["logits"]
        if self.spec.target == "all":
            factors = torch.eye(logits.shape[1]).to(logits)[:, None].expand(-1, *logits.shape)
        else:
            factors = [output_factors(self.spec.target, self.kind, batch)]
        return self._counted(sum(self._compared(logits, factor, seen) for factor in factors), batch)

    def _compared(self, logits, factors, seen):
        (gradient,) = torch.autograd.grad(logits, seen, factors, create_graph=True)
        gradient = gradient.mean(2, keepdim=True) if self.spec.aggregation == "mean" else gradient
        directions = self.directions.to(gradient)
        if self.spec.cosine:
            along = [cosine_similarity(gradient, direction[:, None], dim=1) for direction in directions]
        else:
            along = [(gradient * direction[:, None]).sum(1) for direction in directions]
        power = torch.square if self.spec.norm == "l2" else torch.abs
        return sum(power(part).mean(1) for part in along)


def output_factors(target, kind, batch):
    """What the outputs are multiplied by before they are added up and differentiated.

    Parameters
    ----------
    target : {"random", "true", "max", "log_prob"}
        What is differentiated.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    batch : dict
        With "logits" and "y".

    Returns
    -------
    Tensor of shape (n, n_outputs)
        Factors.
    """
    logits = batch["logits"].detach()
    one_by_one = kind == "multilabel" or logits.shape[1] == 1
    if target == "random":
        return 2.0 * torch.randint(0, 2, logits.shape, device=logits.device).to(logits) - 1
    if target == "true":
        if one_by_one:
            return 2 * batch["y"].to(logits).reshape(logits.shape) - 1
        return torch.nn.functional.one_hot(batch["y"], logits.shape[1]).to(logits)
    if target == "max":
        if one_by_one:
            strongest = logits.abs().argmax(1)
            return torch.nn.functional.one_hot(strongest, logits.shape[1]) * logits.sign()
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)
    # "log_prob": these factors depend on the weights themselves.
    if one_by_one:
        present = torch.sigmoid(batch["logits"])
        slope, absent = present * (1 - present), 1 - present
        return slope * (1 / (present + _LOG_FLOOR) - 1 / (absent + _LOG_FLOOR)) / (2 * logits.shape[1])
    probabilities = torch.softmax(batch["logits"], 1)
    ratios = probabilities / (probabilities + _LOG_FLOOR) / logits.shape[1]
    return ratios - probabilities * ratios.sum(1, keepdim=True)


@functools.cache
def _load_forward_mode():
    """Have torch load what it needs for forward-mode differentiation, by means that it warns of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


class RelativeStrength(Callback):
    """Prepare training with a :class:`LatentGradientPenalty`; not public.

    Before the first step, sees whether the network can be differentiated in forward mode, and sets the strength in
    units of what the penalty is then. Nothing else in training changes, and no random number of it is used.

    Parameters
    ----------
    lambda_ : float
        Strength.
    relative : bool
        Whether it is in these units.
    """

    def __init__(self, lambda_, relative):
        self.lambda_ = lambda_
        self.relative = relative

    def on_train_begin(self, net, X=None, **kwargs):
        self.done_ = False

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        if self.done_:
            return
        self.done_, term = True, net.penalty_
        if term.built.forward_mode and not _can_be_trained(net, dataset_train, term):
            term.built.forward_mode = False
        if self.relative:
            _, penalty = measure(net, dataset_train, term)
            # Outputs that do not change along the concept have nothing to be rid of.
            term.strength = self.lambda_ / penalty if penalty > 0 else 0.0


def _can_be_trained(net, reader, term):
    """Whether the penalty's gradient by the weights can be had in the present mode."""
    weights = [weight for weight in net.module_.parameters() if weight.requires_grad]
    with own_random_state(0, torch.device(net.device)):
        batch = net.prepare(next(iter(net.batches(reader, batch_size=2, rng=np.random.default_rng(0)))))
        try:
            batch = net.forward_training(batch)
            values, _ = term.raw(net.module_, batch)
            torch.autograd.grad(values.sum(), weights, allow_unused=True)
        except RuntimeError:  # NotImplementedError is one
            return False
    term.forget_random_numbers()
    return True
