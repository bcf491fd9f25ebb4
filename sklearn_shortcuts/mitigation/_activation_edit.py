"""Move the activations of a layer along directions to given levels, in all rows or in some of them."""

import copy
import threading

import numpy as np
import torch
from torch import nn

from ..neural._layer_hook import LayerHook
from ..neural._structure import main_output


def attach_edit(edit, module, layer, image_shape, channel_axis):
    """Put an edit into a network, for good.

    Parameters
    ----------
    edit : ActivationEdit
        Edit.
    module : torch.nn.Module
        Network, changed in place.
    layer : str
        Name of a layer, or "last".
    image_shape : tuple of int
        Shape of one row.
    channel_axis : {None, 1, -1}
        Axis of the channels in the layer's output.
    """
    edit.number = len(edit_hooks(module))
    LayerHook(edit, len(image_shape) + 1, channel_axis).attach(module, layer)
    if isinstance(edit.condition, PredictedClasses):
        edit.condition.watch(module)


def find_edit(module):
    """Give the edit that was put into a network last; those of earlier estimators come before it."""
    return max((edit for *_, edit in edit_hooks(module)), key=lambda edit: edit.number)


def edit_hooks(module):
    """Give the hooks of edits in a network: where each is kept, its key there, and the edit.

    They are looked up since a network is pickled by itself: who refers to its parts refers to copies afterwards.
    """
    places = [place for part in module.modules() for place in (part._forward_hooks, part._forward_pre_hooks)]
    hooks = [(place, key, getattr(hook, "__self__", None)) for place in places for key, hook in place.items()]
    return [
        (place, key, owner.function)
        for place, key, owner in hooks
        if isinstance(owner, LayerHook) and isinstance(owner.function, ActivationEdit)
    ]


class ActivationEdit(nn.Module):
    """Bring the pooled projections of activations on directions to given levels.

    To every position of a row the same vector is added, ``sum_k (levels_k - s_k) v_k`` with ``s_k`` the projection of
    the row's pooled activations on ``v_k``. Since it shifts all positions of a channel alike, it shifts their maximum
    and their mean by as much, so that the pooled projections of an edited row are the levels exactly.

    Parameters
    ----------
    vectors : array-like of shape (k, n_channels)
        Orthonormal directions.
    levels : array-like of shape (k,)
        Levels along them.
    pool : {"max", "mean", "token"}
        What becomes of the positions: maximum, mean, or the first one.
    condition : torch.nn.Module, default=None
        Called with the pooled activations, a Tensor of shape (n, n_channels), gives which rows are edited, a Tensor of
        bool of shape (n,); None means all. Rows that are not edited keep every bit.

    Notes
    -----
    Projections are computed in float64 where the device has it, and the result is rounded once. Vectors and levels
    follow the device of the values.
    """

    def __init__(self, vectors, levels, pool, condition=None):
        super().__init__()
        self.register_buffer("vectors", torch.from_numpy(np.array(vectors, dtype=np.float64)))
        self.register_buffer("levels", torch.from_numpy(np.array(levels, dtype=np.float64)))
        self.pool = pool
        self.condition = condition
        self.number = 0

    def forward(self, values):
        """Edit activations.

        Parameters
        ----------
        values : Tensor of shape (n, n_channels, n_positions)
            Activations.

        Returns
        -------
        Tensor of shape (n, n_channels, n_positions)
            Edited, in the same precision.
        """
        with torch.autocast(values.device.type, enabled=False):
            pooled = self.pooled(values)
            vectors, levels = self.vectors.to(pooled), self.levels.to(pooled)
            shift = (levels - pooled @ vectors.T) @ vectors
            # Half precisions are added in float32, which rounds once.
            precision = torch.promote_types(values.dtype, torch.float32)
            edited = (values.to(precision) + shift.to(precision)[:, :, None]).to(values.dtype)
            if self.condition is None:
                return edited
            return torch.where(self.condition(pooled)[:, None, None], edited, values)

    def move_to(self, device):
        """Move vectors, levels and condition to a device, which else happens at every call."""
        device = torch.device(device)
        return self.to(device, torch.float32) if _wide(device) == torch.float32 else self.to(device)

    def flags(self, values):
        """Tell which rows would be edited.

        Parameters
        ----------
        values : Tensor of shape (n, n_channels, n_positions)
            Activations.

        Returns
        -------
        Tensor of bool of shape (n,)
            Rows.
        """
        with torch.autocast(values.device.type, enabled=False):
            if self.condition is None:
                return torch.ones(len(values), dtype=torch.bool, device=values.device)
            return self.condition(self.pooled(values))

    def pooled(self, values):
        """Give one value per channel, in the precision of the projections.

        Parameters
        ----------
        values : Tensor of shape (n, n_channels, n_positions)
            Activations.

        Returns
        -------
        Tensor of shape (n, n_channels)
            Pooled activations.

        Raises
        ------
        ValueError
            If there is another number of channels than the vectors have.
        """
        if values.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"the concept has {self.vectors.shape[1]} channels, but the layer gives {values.shape[1]}; set "
                f"channel_axis if its channels are on another axis, or name the layer of the concept"
            )
        return pool_positions(values, self.pool).to(_wide(values.device))


def _wide(device):
    return torch.float32 if device.type == "mps" else torch.float64


def pool_positions(values, pool):
    """Pool activations of shape (n, n_channels, n_positions) to (n, n_channels)."""
    if values.shape[2] == 1 or pool == "token":
        return values[:, :, 0]
    if pool == "max":
        return values.amax(2)
    return values.to(torch.promote_types(values.dtype, torch.float32)).mean(2)


class AboveThreshold(nn.Module):
    """Rows whose linear score exceeds a threshold.

    Parameters
    ----------
    coef : array-like of shape (n_channels,)
        Coefficients.
    intercept : float
        Added to the products.
    threshold : float
        Greatest score of rows that are left as they are.
    """

    def __init__(self, coef, intercept, threshold):
        super().__init__()
        self.register_buffer("coef", torch.from_numpy(np.array(coef, dtype=np.float64)))
        self.register_buffer("intercept", torch.tensor(float(intercept), dtype=torch.float64))
        self.register_buffer("threshold", torch.tensor(float(threshold), dtype=torch.float64))

    def forward(self, pooled):
        """Compare with the threshold: Tensor of shape (n, n_channels) to bool of shape (n,)."""
        return self.scores(pooled) > self.threshold.to(pooled)

    def scores(self, pooled):
        """Linear scores of shape (n,), whose rounding does not depend on which rows stand together."""
        return (pooled * self.coef.to(pooled)).sum(1) + self.intercept.to(pooled)


def exceeds(detector, threshold, features):
    """Give the condition that a fitted detector's decision function exceeds a threshold.

    Parameters
    ----------
    detector : estimator
        Fitted.
    threshold : float
        Threshold.
    features : ndarray of shape (n, n_channels)
        Rows by which to see whether the decision function is linear.

    Returns
    -------
    torch.nn.Module
        :class:`AboveThreshold` if it is, otherwise one that asks the detector.
    """
    coef, intercept = (np.ravel(getattr(detector, name, ())) for name in ("coef_", "intercept_"))
    if coef.shape == features.shape[1:] and len(intercept) == 1:
        linear = AboveThreshold(coef, intercept[0], threshold)
        some = features[:256].astype(np.float64)
        if np.allclose(linear.scores(torch.from_numpy(some)), detector.decision_function(some), rtol=1e-6):
            return linear
    return ChosenRows(ExceedsThreshold(detector, threshold))


class ExceedsThreshold:
    """Whether the decision function of a detector exceeds a threshold, for arrays."""

    def __init__(self, detector, threshold):
        self.detector = detector
        self.threshold = threshold

    def __call__(self, pooled):
        return self.detector.decision_function(pooled) > self.threshold


class ChosenRows(nn.Module):
    """Rows that a function of arrays chooses.

    Parameters
    ----------
    function : callable
        Called with an ndarray of shape (n, n_channels), gives one truth value per row.
    """

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, pooled):
        """Ask the function: Tensor of shape (n, n_channels) to bool of shape (n,)."""
        answer = np.asarray(self.function(pooled.detach().cpu().numpy().copy()))
        if answer.shape != (len(pooled),) or answer.dtype.kind not in "bui":
            raise ValueError(
                f"condition must give one truth value per row, shape ({len(pooled)},), but gave {answer.dtype} of "
                f"shape {answer.shape}"
            )
        return torch.from_numpy(answer.astype(bool)).to(pooled.device)


class PredictedClasses(nn.Module):
    """Rows that the unedited network predicts as one of some classes.

    The network itself cannot tell: when it comes to the edited layer, its outputs are not yet there. A copy of the
    unedited one sees each batch before.

    Parameters
    ----------
    network : torch.nn.Module
        Unedited; a copy is kept.
    columns : sequence of int
        Classes or labels.
    kind : {"binary", "multiclass", "multilabel"}
        Kind of target.
    """

    def __init__(self, network, columns, kind):
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.columns = tuple(int(column) for column in columns)
        self.kind = kind
        self._batches = threading.local()

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_batches"}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._batches = threading.local()

    def watch(self, network):
        """See every batch before a network does; the hook stays."""
        network.register_forward_pre_hook(self._see)

    def _see(self, network, inputs):
        images = inputs[0]
        first = next(self.network.parameters())
        if first.device != images.device or first.dtype != images.dtype:
            self.network.to(images)
        with torch.no_grad():
            logits = main_output(self.network(images.detach()))
        if self.kind == "multilabel":
            chosen = (logits[:, list(self.columns)] > 0).any(1)
        else:
            logits = torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
            predicted = logits.argmax(1)
            chosen = torch.stack([predicted == column for column in self.columns]).any(0)
        self._batches.chosen = chosen

    def forward(self, pooled):
        """Give what was seen of the rows: bool of shape (n,)."""
        chosen = getattr(self._batches, "chosen", None)
        if chosen is None or len(chosen) != len(pooled):
            raise RuntimeError(
                "condition='class' needs the whole network to run, from the images on, not layers of it alone"
            )
        return chosen
