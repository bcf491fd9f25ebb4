"""What else a network may be trained to do: the form of penalties on the training loss."""

from sklearn.base import BaseEstimator


class Penalty(BaseEstimator):
    """Base of the descriptions of penalties, the estimators' parameter ``penalty``.

    A penalty sees the network and a batch during training and gives one value per row, which is added to the row's
    loss. Derive from this class, store parameters in ``__init__`` and implement :meth:`build`.

    Attributes
    ----------
    needs_input_grad : bool
        Class attribute: ``batch["X"]`` must allow gradients with respect to the images. Such a penalty
        differentiates twice: convolutions, batch and group normalization then have second derivatives in few passes,
        and attention is computed in the one way that torch can differentiate twice. ``torch.compile`` cannot do that.
    fields : tuple of str
        Class attribute: fields of the rows that the batch must contain, such as ``("masks", "has_mask")``.

    Notes
    -----
    What ``build`` gives is called as ``penalty(module, batch)`` after the forward pass and returns a tensor of shape
    (n,). ``batch`` is that of :class:`Criterion`, with ``"logits"``, ``"losses"`` (the criterion's, shape (n,)) and
    ``"epoch"`` (int, from 1, counted since the network was new) added. If it has a method ``watch(module)``, that
    gives a context manager around the forward pass, the place to record activations by hooks. If it is a
    ``torch.nn.Module``, its parameters are trained along. It is not called on held-out rows.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, Penalty
    >>> class InputGradient(Penalty):
    ...     needs_input_grad = True
    ...     def __init__(self, strength=1.0):
    ...         self.strength = strength
    ...     def build(self, n_samples, n_outputs, kind):
    ...         def penalty(module, batch):
    ...             (gradient,) = torch.autograd.grad(batch["losses"].sum(), batch["X"], create_graph=True)
    ...             return self.strength * gradient.square().flatten(1).sum(1)
    ...         return penalty
    >>> NeuralImageClassifier(penalty=InputGradient(0.1))
    NeuralImageClassifier(penalty=InputGradient(strength=0.1))
    """

    needs_input_grad: bool = False
    fields: tuple = ()

    def build(self, n_samples, n_outputs, kind):
        """Make the callable that computes the penalties.

        Parameters
        ----------
        n_samples : int
            Number of rows of the X given to ``fit``; ``batch["index"]`` is below it.
        n_outputs : int
            Number of logits per row.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        callable
            Called as ``penalty(module, batch)``; gives one value per row, shape (n,).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is computed: implement build")
