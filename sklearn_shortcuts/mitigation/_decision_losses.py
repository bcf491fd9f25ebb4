"""Cross-entropies before they are averaged."""

import torch.nn.functional as F


def decision_losses(logits, y):
    """Give the cross-entropy of every decision: one per row, or one per row and label.

    Parameters
    ----------
    logits : Tensor of shape (n, n_outputs)
        Logits of classes, of the second of two classes, or of labels.
    y : Tensor of shape (n,) or (n, n_labels)
        Class positions, or 0/1.

    Returns
    -------
    Tensor of shape (n, 1) or (n, n_labels)
        Losses; ``exp`` of minus a loss is the probability of the label.
    """
    if y.ndim == 1 and logits.shape[1] > 1:
        return F.cross_entropy(logits, y, reduction="none")[:, None]
    wanted = y.to(logits.dtype).reshape(len(y), -1)
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
