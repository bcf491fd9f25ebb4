"""What the descriptions of networks share."""

from numbers import Integral

from sklearn.base import BaseEstimator

_AXES = {2: "signals (C, T)", 3: "images (C, H, W)"}


class ModuleSpec(BaseEstimator):
    """Base of the network descriptions that estimators take as ``module``.

    A description holds the choices that define a network and no weights: it prints, compares and clones like any
    scikit-learn estimator, and its parameters can be searched (``module__width``). The network itself is made by
    :meth:`build` once the shape of the rows and the number of outputs are known, that is in ``fit``. A description
    of your own derives from this class, stores its parameters in ``__init__`` and implements ``_build``; any other
    object with a ``build`` method of the same form serves as well.

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn_shortcuts.neural import ModuleSpec
    >>> class Linear(ModuleSpec):
    ...     def _build(self, input_shape, n_outputs):
    ...         n_features = input_shape[0] * input_shape[1] * input_shape[2]
    ...         return nn.Sequential(nn.Flatten(), nn.Linear(n_features, n_outputs))
    >>> Linear()
    Linear()
    """

    _parameter_constraints: dict = {}
    _n_axes: tuple = (2, 3)

    def build(self, input_shape, n_outputs):
        """Make the network.

        The initial weights are drawn from torch's global generator, as torch does everywhere; wrap the call in
        ``torch.random.fork_rng`` and seed there to get the same weights again.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one row: ``(C, H, W)`` for images, ``(C, T)`` for signals.
        n_outputs : int
            Number of outputs per row: classes, or labels.

        Returns
        -------
        torch.nn.Module
            New network that maps ``(n, *input_shape)`` to ``(n, n_outputs)``, on the CPU and in training mode.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or the network cannot take rows of this shape.
        """
        self._validate_params()
        input_shape, n_outputs = check_shapes(input_shape, n_outputs)
        if len(input_shape) not in self._n_axes:
            wanted = " or ".join(_AXES[n] for n in self._n_axes)
            hint = "give signals as ImageBunch(..., signal=True), or name the shape of a row by image_shape"
            raise ValueError(f"{type(self).__name__} takes {wanted}, got rows of shape {input_shape}; {hint}")
        return self._build(input_shape, n_outputs)

    def _build(self, input_shape, n_outputs):
        raise NotImplementedError(f"{type(self).__name__} does not say how its network is built: implement _build")


def check_shapes(input_shape, n_outputs):
    """Give the shape of a row and the number of outputs as plain integers.

    Parameters
    ----------
    input_shape : sequence of int
        ``(C, H, W)`` or ``(C, T)``.
    n_outputs : int
        Number of outputs per row.

    Returns
    -------
    input_shape : tuple of int
        Checked shape.
    n_outputs : int
        Checked number.

    Raises
    ------
    ValueError
        If the shape has another number of axes, or anything is not positive.
    """
    shape = tuple(input_shape)
    if len(shape) not in _AXES or not all(isinstance(size, Integral) and size > 0 for size in shape):
        raise ValueError(f"input_shape must be (C, H, W) or (C, T) with positive sizes, got {shape}")
    if not isinstance(n_outputs, Integral) or n_outputs < 1:
        raise ValueError(f"n_outputs must be a positive integer, got {n_outputs!r}")
    return tuple(int(size) for size in shape), int(n_outputs)
