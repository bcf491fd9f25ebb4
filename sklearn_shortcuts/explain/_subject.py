"""What is explained: a network, and the rows as it sees them."""

import contextlib
from numbers import Integral

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..images import ImageBunch
from ..neural._batches import BatchLoader, RowReader
from ..neural._inputs import Rows
from ..neural._modes import explaining
from ..neural._net import ordered
from ..neural._structure import find_stem, main_output
from ..neural._training import row_fields
from ..neural._unwrap import unwrap
from ._targets import check_logits, check_positions

_BATCH_SIZE = 32
_PRECISIONS = (None, "float32", "bfloat16")


class Subject:
    """A network and the rows on which it is explained; made by :func:`resolve_subject`.

    Attributes
    ----------
    module : torch.nn.Module
        The network.
    estimator : NeuralImageClassifier or None
        The classifier it belongs to; None of a bare network.
    encoding : TargetEncoding or None
        How the classifier writes its classes; None of a bare network.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted; ``"multiclass"`` of a bare network.
    X : ImageBunch or array-like
        The rows as the network's classifier takes them.
    n_rows : int
        Their number.
    image_shape : tuple of int
        ``(C, H, W)`` or ``(C, T)``.
    spatial : tuple of int
        ``(H, W)`` or ``(T,)``.
    device : torch.device
        Where the network is.
    autocast : bool
        Whether it computes in bfloat16.
    rows_per_pass : int
        Rows, or variants of rows, that the network is given at once.
    positions : ndarray of shape (n,) or (n, n_outputs), or None
        What is explained of a bare network, until it was compared with its outputs.
    """

    def __init__(self, module, X, *, estimator, image_shape, device, autocast, rows_per_pass, batches):
        self.module = module
        self.X = X
        self.n_rows = len(X)
        self.estimator = estimator
        self.encoding = None if estimator is None else estimator._encoding
        self.kind = "multiclass" if estimator is None else estimator._encoding.kind
        self.image_shape = tuple(image_shape)
        self.spatial = self.image_shape[1:]
        self.device = torch.device(device)
        self.autocast = autocast
        self.rows_per_pass = rows_per_pass
        self.positions = None
        self._batches = batches

    def batches(self, fields=(), index=None):
        """Go through the rows as the network takes them.

        Parameters
        ----------
        fields : sequence of str, default=()
            Fields of the bunch, or ``"has_mask"``, to bring along.
        index : ndarray of int, default=None
            Numbers of the rows to go through; by default all of them.

        Yields
        ------
        dict
            ``"X"``, scaled and normalized on the device, channels last in memory; ``"index"``, the row numbers; the
            fields.
        """
        for batch in self._batches(tuple(fields), index):
            batch["X"] = ordered(batch["X"], torch.channels_last)
            yield batch

    def field(self, name):
        """Give a field of the rows, or None where they have none of that name."""
        return self.X.get(name) if isinstance(self.X, ImageBunch) and name in self.X.fields else None

    def infer(self, X, module=None):
        """Give the logits of a batch, in the graph if gradients are enabled.

        Parameters
        ----------
        X : Tensor of shape (n, C, H, W) or (n, C, T)
            Images as :meth:`batches` gives them.
        module : torch.nn.Module, default=None
            A copy of the network to use in its place.

        Returns
        -------
        Tensor of shape (n, n_outputs)
            Logits, never less precise than float32.

        Raises
        ------
        ValueError
            If the network gives something else.
        """
        with torch.autocast(X.device.type, torch.bfloat16, enabled=self.autocast):
            logits = (self.module if module is None else module)(X)
        logits = check_logits(main_output(logits), len(X))
        if self.positions is not None:
            check_positions(self.positions, logits.shape[1])
            self.positions = None
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

    @contextlib.contextmanager
    def explaining(self):
        """Have the network in evaluation mode and without gradients of its parameters during the block."""
        with explaining(self.module):
            yield self


def resolve_subject(estimator, X, *, batch_size=None, precision=None):
    """Find the network behind an estimator, and the rows as that network takes them.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted. The earlier steps of a pipeline transform ``X``; of searches and meta-estimators ``best_estimator_`` or
        ``estimator_`` is taken.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images. For a bare network unsigned integers are divided by the largest value of their type, as
        :class:`~sklearn_shortcuts.neural.NeuralImageClassifier` does.
    batch_size : int, default=None
        Rows per batch; by default the classifier's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the classifier's.

    Returns
    -------
    Subject
        Network and rows.

    Raises
    ------
    TypeError
        If there is no network in the estimator.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the rows do not fit, or a parameter is none of its values.
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be 'float32', 'bfloat16' or None, got {precision!r}")
    if batch_size is not None and not (isinstance(batch_size, Integral) and batch_size >= 1):
        raise ValueError(f"batch_size must be a positive integer or None, got {batch_size!r}")
    estimator, X = unwrap(estimator, X)
    if isinstance(estimator, nn.Module):
        subject = _bare_subject(estimator, X, batch_size)
    else:
        check_is_fitted(estimator)
        X = without_tensor(X)
        rows = X if hasattr(X, "__len__") else np.asarray(X)
        subject = Subject(
            estimator.module_,
            rows,
            estimator=estimator,
            image_shape=estimator.image_shape_,
            device=estimator.net_.device,
            autocast=estimator.net_.autocast,
            rows_per_pass=batch_size or estimator.batch_size,
            batches=lambda fields, index: estimator.iter_batches(
                rows, fields=fields, batch_size=batch_size, index=index
            ),
        )
    if precision is not None:
        subject.autocast = precision == "bfloat16"
    if subject.autocast and any(value.dtype == torch.float64 for value in subject.module.parameters()):
        raise ValueError("precision='bfloat16' has no effect on a network in float64; leave it out")
    return subject


def without_tensor(X):
    """Give the values of a tensor as an array, anything else as it is."""
    if not isinstance(X, torch.Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def _bare_subject(module, X, batch_size):
    rows = _bare_rows(module, X)
    parameter = next((value for value in module.parameters() if value.is_floating_point()), torch.empty(0))
    dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32

    def batches(fields, index):
        reader = RowReader(rows, dtype, index=index, fields=row_fields(rows, fields, masks=None))
        for images, values in BatchLoader(reader, batch_size or _BATCH_SIZE):
            batch = {
                name: value.to(parameter.device) if isinstance(value, torch.Tensor) else value
                for name, value in values.items()
            }
            scaled = images.to(parameter.device, dtype)
            scaled = scaled / 255 if images.dtype == torch.uint8 else scaled
            batch["X"] = scaled.to(parameter.dtype)
            yield batch

    return Subject(
        module,
        X if isinstance(X, ImageBunch) else rows.images,
        estimator=None,
        image_shape=rows.image_shape,
        device=parameter.device,
        autocast=False,
        rows_per_pass=batch_size or _BATCH_SIZE,
        batches=batches,
    )


def _bare_rows(module, X):
    """Rows for a network that no classifier checks them for."""
    X = without_tensor(X)
    if not isinstance(X, ImageBunch):
        X = X if hasattr(X, "shape") else np.asarray(X)
        if len(X.shape) not in (3, 4):
            raise ValueError(f"X must have shape (n, H, W), (n, C, H, W) or (n, C, T), got {tuple(X.shape)}")
        X = ImageBunch(X, signal=len(X.shape) == 3 and isinstance(find_stem(module)[1], nn.Conv1d))
    if len(X) == 0:
        raise ValueError("X has 0 rows, at least one is needed")
    return Rows(X.images, X.image_shape, False, X)
