"""Contextual decomposition explanation penalization: outputs that owe nothing to the wrong region."""

import torch

from ..neural import Penalty
from ._class_masks import check_class_count, masks_by_class
from ._contextual_decomposition import decompose


class ContextualDecompositionPenalty(Penalty):
    """Penalize what the wrong region contributes to the outputs (CDEP).

    Contextual decomposition splits every output into the contribution of the region and that of the rest. The penalty
    of a row is the share of the region, ``exp(region) / (exp(region) + exp(rest))``, averaged over the outputs; it lies
    between 0 and 1. Other than gradients this sees the interaction of pixels, and needs first derivatives only.

    Every kind of layer needs a rule. There are rules for networks that apply one layer after the other: convolution,
    linear, ReLU, max and average pooling, dropout, flatten, batch and group normalization, such as :class:`SmallCNN`
    and torchvision's VGG. For others (residual networks, transformers) an error names the first layer without one.

    Attributes
    ----------
    fields : tuple of str
        The batch must have ``"masks"``, shape (n, H, W) or (n, T), and ``"has_mask"``, shape (n,). Of masks per class,
        shape (n, K, H, W) or (n, K, T), each is decomposed by for the output of its own class or label, and these
        shares are summed; a mask of NaN counts as missing.
    mask_role : str
        ``"avoid"``: masks are 1 in the wrong region.

    See Also
    --------
    InputGradientPenalty : Works for any network.
    ExplanationRegularizedClassifier : Trains with it: strength, warm-up, masks for some rows only.

    Notes
    -----
    Only rows with a mask are decomposed, in a pass of its own that costs about two training steps of them. Batch
    normalization takes part with its running statistics, where it is linear; group normalization with the deviation
    of the whole image. Dropout drops the same units of both contributions.

    References
    ----------
    L. Rieger, C. Singh, W. J. Murdoch and B. Yu, "Interpretations are Useful: Penalizing Explanations to Align Neural
    Networks with Prior Knowledge", ICML (2020). C. Singh, W. J. Murdoch and B. Yu, "Hierarchical Interpretations for
    Neural Network Predictions", ICLR (2019), for the rules.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import ContextualDecompositionPenalty
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 16, 16)), np.arange(20) % 2
    >>> masks = np.zeros((20, 16, 16))
    >>> masks[:, :4, :4] = 1
    >>> penalty = ContextualDecompositionPenalty()
    >>> classifier = NeuralImageClassifier(SmallCNN(4), penalty=penalty, max_epochs=1, random_state=0)
    >>> classifier.fit(X, y, masks=masks).predict(X).shape
    (20,)
    """

    fields = ("masks", "has_mask")
    mask_role = "avoid"

    def build(self, n_samples, n_outputs, kind):
        """Make the callable that computes the penalties.

        Parameters
        ----------
        n_samples : int
            Not needed here.
        n_outputs : int
            Not needed here.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        callable
            Called as ``penalty(module, batch)``; gives one value per row, shape (n,), 0 for rows without a mask. Raises
            ValueError if the network has a layer without a rule.
        """
        return _SmallContribution(kind)


class _SmallContribution:
    def __init__(self, kind):
        self.kind = kind

    def __call__(self, module, batch):
        X = batch["X"].detach()
        masks, annotated = masks_by_class(batch)
        values = batch["logits"].new_zeros(len(X))
        if masks.ndim < X.ndim:
            masks, per_class = masks[:, None], False
        else:
            two_classes = self.kind != "multilabel" and batch["logits"].shape[1] == 1
            check_class_count(masks, 2 if two_classes else batch["logits"].shape[1])
            per_class = True
        for position in annotated.any(0).nonzero()[:, 0].tolist():
            rows = annotated[:, position].nonzero()[:, 0]
            mask = masks[rows, position][:, None].to(X.dtype)
            region, rest = decompose(module, X[rows] * mask, X[rows] * (1 - mask))
            if per_class and region.shape[1] == 1:
                sign = 2 * position - 1 if self.kind != "multilabel" else 1  # the only logit speaks for class 1
                region, rest = sign * region, sign * rest
            elif per_class:
                region, rest = region[:, [position]], rest[:, [position]]
            values = values.index_add(0, rows, torch.sigmoid(region - rest).mean(1).to(values.dtype))
        return values
