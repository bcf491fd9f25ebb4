"""What ``fit`` does between checked rows and a trained net."""

import contextlib
import copy
import inspect
import pickle
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from joblib import hash as fingerprint
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight
from skorch.callbacks import EarlyStopping, PrintLog
from torch import nn

from ..images import ImageBunch
from ._callbacks import EpochBar
from ._criteria import CrossEntropy
from ._freeze import set_freeze
from ._modules import resolve_module
from ._net import ClassifierNet
from ._runtime import parameter_dtype, resolve_device
from ._small_cnn import SmallCNN

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
_CHOICES = (
    *("optimizer", "momentum", "weight_decay", "criterion", "penalty"),
    *("device", "compile", "precision", "memory_format"),
)
_NETWORK_CHOICES = ("module", "image_shape", "weights", "normalize")
_MEMORY_FORMATS = {  # with the channels last everything is faster: both passes, and second derivatives as we take them
    "auto": torch.channels_last,
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


@dataclass(frozen=True)
class Weights:
    """Weights of the rows a classifier is fitted on.

    Attributes
    ----------
    used : ndarray of int
        Rows with a positive weight.
    sample_weight : ndarray of shape (n,) or None
        Given weights of all rows.
    """

    used: np.ndarray
    sample_weight: object


def check_weights(sample_weight, rows):
    """Check the given weights; a row of weight 0 counts as absent.

    Parameters
    ----------
    sample_weight : array-like of shape (n,), float or None
        Given weights.
    rows : Rows
        Rows they belong to.

    Returns
    -------
    Weights
        Checked.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return Weights(np.arange(len(rows)), None)
    anything = np.broadcast_to(0.0, (len(rows), 1))  # only its length counts; lazy images are no array to scikit-learn
    weight = _check_sample_weight(sample_weight, anything, dtype=np.float64, ensure_non_negative=True)
    used = np.flatnonzero(weight > 0)
    if len(used) == 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return Weights(used, weight)


def weight_fields(weights, class_weight, encoding, codes, train):
    """Combine the weights of rows and classes into what the batches carry.

    Parameters
    ----------
    weights : Weights
        Weights of the rows.
    class_weight : dict, "balanced" or None
        Weights of the classes; of the positives of each label if there are several labels.
    encoding : TargetEncoding
        Classes.
    codes : ndarray
        Encoded target of all rows.
    train : ndarray of int
        Rows that are trained on; their mean weight becomes 1, so that weights leave the learning rate alone.

    Returns
    -------
    dict
        ``"sample_weight"`` and ``"label_weight"``, where there are any.

    Raises
    ------
    ValueError
        If the weight of a class is no number, negative or infinite, or no row has a positive weight.
    """
    fields = {}
    weight = weights.sample_weight
    if class_weight is not None:
        _check_class_weight(class_weight)
    if class_weight is not None and encoding.kind == "multilabel":
        fields["label_weight"] = _label_weight(class_weight, encoding, codes, weights)
    elif class_weight is not None:
        used = weights.used
        per_class = compute_class_weight(
            class_weight,
            classes=encoding.classes,
            y=encoding.classes[codes[used]],
            sample_weight=None if weight is None else weight[used],
        )
        weight = per_class[codes] * (1.0 if weight is None else weight)
    if weight is not None:
        if not weight[train].any():
            raise ValueError(f"class_weight={class_weight!r} leaves no row with a positive weight")
        fields["sample_weight"] = weight / weight[train].mean()
    return fields


def _check_class_weight(class_weight):
    if isinstance(class_weight, str):
        return
    for name, value in class_weight.items():
        if not (isinstance(value, Real) and 0 <= value < np.inf):
            raise ValueError(f"class_weight: the weight of {name!r} must be a number of at least 0, got {value!r}")


def _label_weight(class_weight, encoding, codes, weights):
    if isinstance(class_weight, str):
        row_weight = None if weights.sample_weight is None else weights.sample_weight[weights.used]
        share = np.average(codes[weights.used], axis=0, weights=row_weight)
        if not ((share > 0) & (share < 1)).all():
            label = encoding.label_names[(share == 0) | (share == 1)].tolist()[0]
            raise ValueError(f"class_weight='balanced' needs both values of every label, but {label!r} has only one")
        return np.where(codes > 0, 0.5 / share, 0.5 / (1 - share))
    unknown = set(class_weight) - set(encoding.label_names.tolist())
    if unknown:
        raise ValueError(f"class_weight names the labels {sorted(unknown)}, y has {encoding.label_names.tolist()}")
    positive = np.array([class_weight.get(name, 1.0) for name in encoding.label_names.tolist()], dtype=np.float64)
    return np.where(codes > 0, positive, 1.0)


def row_fields(rows, names, *, masks):
    """Collect the fields that criterion and penalty ask for.

    Parameters
    ----------
    rows : Rows
        Checked images and the bunch they came in.
    names : sequence of str
        Wanted fields.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, or None
        Masks given to ``fit``; they go before those of the bunch.

    Returns
    -------
    dict
        Field name -> aligned values.

    Raises
    ------
    ValueError
        If a field is missing.
    """
    bunch = rows.bunch
    if masks is not None:
        if bunch is None:
            shape = rows.image_shape
            blank = np.broadcast_to(np.float32(0), (len(rows), *shape))  # only its shape is looked at
            bunch = ImageBunch(blank, masks=masks, signal=len(shape) == 2)
        else:
            bunch = bunch.with_fields(masks=masks)
    fields = {}
    for name in names:
        if bunch is not None and name == "has_mask":
            fields[name] = bunch.has_mask
        elif bunch is not None and name in bunch.fields:
            fields[name] = bunch.get(name)
        else:
            where = "X is no ImageBunch" if bunch is None else f"the rows have {list(bunch.fields)}"
            raise ValueError(
                f"criterion or penalty need the field {name!r}, but {where}; give an ImageBunch with it"
                + (", or fit(X, y, masks=...)" if name in ("masks", "has_mask") else "")
            )
    return fields


def build_module(estimator, kind, n_outputs, *, load_weights=True):
    """Make the network.

    Parameters
    ----------
    estimator : NeuralImageClassifier
        With checked parameters and ``image_shape_``.
    kind : str
        Kind of target.
    n_outputs : int
        Number of classes or labels.
    load_weights : bool, default=True
        Whether to read the file that the parameter ``weights`` names.

    Returns
    -------
    module : torch.nn.Module
        Network.
    n_logits : int
        Its outputs per row: ``n_outputs``, or 1 if the target is binary and a network was given that has one.
    """
    arguments = {"weights": estimator.weights if load_weights else None, "freeze": estimator.freeze}
    module = SmallCNN() if estimator.module is None else estimator.module
    try:
        return resolve_module(module, estimator.image_shape_, n_outputs, **arguments), n_outputs
    except ValueError:
        if kind != "binary" or not isinstance(module, nn.Module):
            raise
        with contextlib.suppress(ValueError):  # the first message is the one to give
            return resolve_module(module, estimator.image_shape_, 1, **arguments), 1
        raise


def build_net(estimator, module, n_logits, n_samples, kind):
    """Put network, criterion, penalty and optimizer together.

    Parameters
    ----------
    estimator : NeuralImageClassifier
        With checked parameters and ``image_shape_``.
    module : torch.nn.Module
        Network, trained or new.
    n_logits : int
        Its outputs per row.
    n_samples : int
        Rows of the X given to ``fit``.
    kind : str
        Kind of target.

    Returns
    -------
    ClassifierNet
        Ready to train.
    """
    criterion, penalty = build_objectives(estimator, n_logits, n_samples, kind)
    needs_input_grad = bool(getattr(estimator.penalty, "needs_input_grad", False))
    if estimator.compile and (needs_input_grad or hasattr(penalty, "watch")):
        raise ValueError(
            f"compile=True does not go with penalty={type(estimator.penalty).__name__}: compiled networks can neither "
            f"be differentiated twice nor be watched by hooks"
        )
    device = resolve_device(estimator.device)
    dtype = parameter_dtype(estimator.precision)
    memory_format = _MEMORY_FORMATS["contiguous" if len(estimator.image_shape_) < 3 else estimator.memory_format]
    optimizer = _OPTIMIZERS.get(estimator.optimizer, estimator.optimizer)
    options = {}
    if isinstance(estimator.optimizer, str) or estimator.weight_decay or _takes(optimizer, "weight_decay"):
        options["optimizer__weight_decay"] = estimator.weight_decay  # also 0: torch's own default may be another
    if estimator.optimizer == "sgd":
        options["optimizer__momentum"] = estimator.momentum
    if isinstance(estimator.optimizer, str) and device.type in ("cpu", "cuda"):
        options["optimizer__fused"] = True  # one pass over all weights
    normalization = None
    if estimator.channel_mean_ is not None:
        axes = [1] * (len(estimator.image_shape_) - 1)
        normalization = tuple(
            torch.from_numpy(values).reshape(-1, *axes) for values in (estimator.channel_mean_, estimator.channel_std_)
        )
    net = ClassifierNet(
        module=module.to(dtype=dtype, memory_format=memory_format),
        criterion=criterion,
        penalty=penalty,
        needs_input_grad=needs_input_grad,
        autocast=estimator.precision == "bfloat16",
        memory_format=memory_format,
        dtype=dtype,
        normalization=normalization,
        optimizer=optimizer,
        lr=estimator.lr,
        device=device,
        compile=estimator.compile,
        train_split=None,
        verbose=int(estimator.verbose),
        **options,
    )
    net.choices, net.n_samples = choices(estimator), n_samples
    net.network_choices, net.freeze = network_choices(estimator), estimator.freeze
    return net.initialize()


def renew_network(net, estimator):
    """Freeze the network of a net as the estimator now says; nothing else of the network can change.

    Parameters
    ----------
    net : ClassifierNet
        Net to go on with.
    estimator : NeuralImageClassifier
        With checked parameters.

    Raises
    ------
    ValueError
        If a parameter that the network was made of has changed.
    """
    changed = [name for name, made_of in network_choices(estimator).items() if made_of != net.network_choices[name]]
    if changed:
        raise ValueError(
            f"the fitted network, which is to be trained on, was made with another {' and '.join(changed)}; "
            f"set warm_start=False and call fit to start anew, or set the old value again"
        )
    if estimator.freeze != net.freeze:
        set_freeze(net.module_, estimator.freeze)
        net.freeze = estimator.freeze


def renew_objectives(net, estimator, n_logits, n_samples, kind):
    """Fit criterion and penalty of a net to another number of rows.

    Parameters
    ----------
    net : ClassifierNet
        Net to go on with.
    estimator : NeuralImageClassifier
        With the parameters that the net was built with.
    n_logits, n_samples, kind : int, int, str
        As in :func:`build_net`.

    Returns
    -------
    ClassifierNet
        The same net, or, if criterion or penalty have weights of their own, a new one with the trained network and a
        new optimizer.
    """
    criterion, penalty = build_objectives(estimator, n_logits, n_samples, kind)
    if next(criterion.parameters(), None) is not None or isinstance(penalty, nn.Module):
        return build_net(estimator, net.module_, n_logits, n_samples, kind)
    net.criterion_ = criterion.to(net.device)
    net.penalty_ = penalty
    net.n_samples = n_samples
    return net


def build_objectives(estimator, n_logits, n_samples, kind):
    """Build criterion and penalty for so many rows."""
    dtype = parameter_dtype(estimator.precision)
    criterion = CrossEntropy() if estimator.criterion is None else estimator.criterion
    criterion = criterion.build(n_samples, n_logits, kind).to(dtype)
    penalty = None if estimator.penalty is None else estimator.penalty.build(n_samples, n_logits, kind)
    return criterion, penalty.to(dtype) if isinstance(penalty, nn.Module) else penalty


def _takes(function, argument):
    try:
        return argument in inspect.signature(function).parameters
    except (TypeError, ValueError):  # made in C
        return False


def objective_fields(estimator):
    """Names of the fields that criterion and penalty ask for."""
    specs = [spec for spec in (estimator.criterion, estimator.penalty) if spec is not None]
    return sorted({name for spec in specs for name in getattr(spec, "fields", ())})


def choices(estimator):
    """What a net is made of besides the network, as a short text; a net with other choices cannot be trained on."""
    return " ".join(_text(getattr(estimator, name)) for name in _CHOICES)


def network_choices(estimator):
    """What a network is made of, as short texts by parameter; it must stay if the network is trained on."""
    return {name: _text(getattr(estimator, name)) for name in _NETWORK_CHOICES}


def _text(value):
    if isinstance(value, nn.Module):  # its weights have no text that a copy in another process shares
        return repr(value)
    try:
        return fingerprint(value)
    except (pickle.PicklingError, AttributeError, TypeError):  # a class or function made in another function
        return getattr(value, "__qualname__", repr(value))


def make_callbacks(estimator, early_stopping):
    """Callbacks of the user, in copies because they keep state, and of the estimator."""
    callbacks = copy.deepcopy(list(estimator.callbacks or []))
    if early_stopping:
        callbacks.append(("early_stopping", EarlyStopping(patience=estimator.patience, load_best=True)))
    if int(estimator.verbose) == 1:
        callbacks.append(("epoch_bar", EpochBar()))
    elif int(estimator.verbose) > 1:
        callbacks.append(("print_log", PrintLog()))
    return callbacks
