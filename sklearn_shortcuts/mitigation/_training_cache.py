"""The training that many candidates of a search have in common, done once."""

import hashlib
import inspect
import os
import pickle
import warnings
from dataclasses import dataclass, field

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_memory
from torch import nn

from .._version import __version__
from ..images import ImageBunch
from ..images._cache_key import cache_key
from ..neural._runtime import resolve_device

_NO_INFLUENCE = frozenset({"verbose", "n_draws", "n_threads", "warm_start"})
_TOLD_OTHERWISE = frozenset({"_parameters", "_buffers", "_modules", "training"})
_PACKAGE = __name__.partition(".")[0]
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Training:
    """One fit.

    Attributes
    ----------
    classifier : NeuralImageClassifier
        To be fitted.
    bunch : ImageBunch
        Rows.
    y : array-like
        Labels.
    options : dict
        Further arguments of ``fit``.
    fields : tuple of str
        Fields of the bunch that the criterion uses.
    """

    classifier: object = field(repr=False)  # a memory that talks would print labels and patients
    bunch: ImageBunch = field(repr=False)
    y: object = field(repr=False)
    options: dict = field(repr=False)
    fields: tuple = ()


def fit_once(training, memory):
    """Fit, or take the result of an earlier fit of the same classifier on the same rows.

    Parameters
    ----------
    training : Training
        What to do.
    memory : str, path-like, joblib.Memory or None
        Where results are kept; None keeps none.

    Returns
    -------
    NeuralImageClassifier
        Fitted classifier.

    Warns
    -----
    UserWarning
        If the classifier has parameters that cannot be pickled, so that nothing can be kept.
    """
    if memory is None:
        return _fit(training)
    memory = check_memory(os.fspath(memory) if hasattr(memory, "__fspath__") else memory)
    try:
        key = training_key(training)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        warnings.warn(
            f"memory: the fit of {type(training.classifier).__name__} cannot be kept, because a parameter cannot be "
            f"pickled ({error.args[0]})",
            UserWarning,
            stacklevel=4,
        )
        return _fit(training)
    # Only the key is hashed and noted by joblib; labels and patients leave no trace.
    try:
        fitted = memory.cache(_fit_whole, ignore=["training"])(key, training)
    except _Interrupted as interruption:
        (fitted,) = interruption.args
    return fitted.set_params(**{name: getattr(training.classifier, name) for name in _NO_INFLUENCE})


def _fit(training):
    return training.classifier.fit(training.bunch, training.y, **training.options)


def _fit_whole(key, training):
    fitted = _fit(training)
    if fitted.net_.interrupted:
        raise _Interrupted(fitted)
    return fitted


class _Interrupted(Exception):
    """The user ended a training, whose result can be used but must not be kept."""


def training_key(training):
    """Give a key that changes with whatever changes the result of a fit.

    Parameters
    ----------
    training : Training
        The fit.

    Returns
    -------
    str
        Hexadecimal digits, from which nothing can be read.
    """
    digest = hashlib.blake2b(digest_size=20)
    for part in _describe(training):
        digest.update(part if isinstance(part, bytes) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _describe(training):
    classifier, bunch = training.classifier, training.bunch
    yield f"{__version__} {torch.__version__} {resolve_device(classifier.device)}"
    yield from _describe_parameters(classifier)
    yield f"{bunch.image_shape} {bunch.dtype.str}"
    yield from _describe_rows(bunch.images)
    for name in training.fields:
        yield name
        yield from _describe_rows(bunch.has_mask if name == "has_mask" else bunch.get(name))
    y = training.y
    if hasattr(y, "columns"):
        yield joblib.hash(list(y.columns))
    yield joblib.hash(np.asarray(y))
    weight = training.options.get("sample_weight", _field(bunch, "sample_weight"))
    yield joblib.hash(None if weight is None else np.asarray(weight))
    if classifier.early_stopping:
        groups = training.options.get("groups", _field(bunch, "groups"))
        # Who the patients are is of no interest, only which rows belong together.
        yield joblib.hash(None if groups is None else pd.factorize(np.asarray(groups))[0])


def _field(bunch, name):
    return bunch.get(name) if name in bunch.fields else None


def _describe_rows(rows):
    key = cache_key(rows, np.arange(len(rows)), np.dtype(getattr(rows, "dtype", object)))
    if key is not None:
        yield key
        return
    # What a function of the user gives is told by its results only.
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield joblib.hash(np.asarray(rows[first : first + _ROWS_AT_ONCE]))


def _describe_parameters(classifier):
    yield _source(type(classifier))
    for name, value in sorted(classifier.get_params(deep=True).items()):
        if name in _NO_INFLUENCE:
            continue
        yield name
        if isinstance(value, nn.Module):
            yield repr(value)
            for part in value.modules():
                yield _source(type(part))
                others = {name: one for name, one in vars(part).items() if name not in _TOLD_OTHERWISE}
                yield joblib.hash({name: _comparable(one) for name, one in others.items()})
            for name, tensor in (*value.named_parameters(), *value.named_buffers()):
                yield f"{name} {tensor.dtype} {tensor.requires_grad}"
                yield joblib.hash(_comparable(tensor))
        elif inspect.isclass(value) or inspect.isfunction(value):
            yield _source(value)
        elif hasattr(value, "get_params"):  # its parameters come by themselves
            yield _source(type(value))
        elif name == "weights" and value is not None:
            status = os.stat(value)
            yield f"{os.path.abspath(value)} {status.st_size} {status.st_mtime_ns}"
        else:
            yield joblib.hash(value)


def _comparable(value):
    """Values of a tensor, whose pickle is not always the same; anything else as it is."""
    return value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else value


def _source(thing):
    """Name of a class or function, for those outside the library with their code, which may change in between."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    if thing.__module__.partition(".")[0] in (_PACKAGE, "torch"):
        return name
    try:
        return f"{name} {inspect.getsource(thing)}"
    except (OSError, TypeError):  # typed into an interpreter
        return name
