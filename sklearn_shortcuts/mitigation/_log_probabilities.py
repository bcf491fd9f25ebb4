"""What penalties explain: log-probabilities of the classes, each with the masks that belong to it."""

import torch
import torch.nn.functional as F

from ._class_masks import check_class_count, masks_by_class

SCORES = ("sum_log_prob", "true", "max")


def log_probabilities(logits, kind):
    """Give the log-probabilities of all answers.

    Parameters
    ----------
    logits : Tensor of shape (n, n_outputs)
        Outputs of the network.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted. A binary target may have one logit or two.

    Returns
    -------
    Tensor of shape (n, n_questions, n_answers)
        One question with as many answers as classes, or per label the answers 0 and 1.
    """
    if kind == "multilabel" or logits.shape[1] == 1:
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=2)
    return F.log_softmax(logits, dim=1)[:, None]


def masked_scores(batch, logits, kind, scores):
    """Give the scores to explain and what their explanations are compared with.

    Parameters
    ----------
    batch : dict
        ``"X"``, ``"y"``, ``"masks"`` of shape (n, H, W), (n, T), (n, K, H, W) or (n, K, T), ``"has_mask"``.
    logits : Tensor of shape (n, n_outputs)
        Outputs of the network.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    scores : {"sum_log_prob", "true", "max"}
        Which log-probabilities are summed: all, those of the true classes, or those of the predicted ones.

    Yields
    ------
    scores : Tensor of shape (n,)
        In the graph of the logits.
    masks : Tensor of shape (n, 1, H, W) or (n, 1, T)
        In the data type of the images.
    annotated : Tensor of bool of shape (n,)
        Rows that have such a mask; at least one.
    """
    masks, annotated = masks_by_class(batch)
    masks = masks.to(batch["X"].dtype)
    values = log_probabilities(logits, kind)
    if masks.ndim < batch["X"].ndim:
        found = [(_choose(values, scores, batch["y"]).sum(1), masks, annotated[:, 0])]
    elif kind == "multilabel":
        check_class_count(masks, values.shape[1])
        found = zip(_choose(values, scores, batch["y"]).unbind(1), masks.unbind(1), annotated.unbind(1))
    elif scores == "sum_log_prob":
        check_class_count(masks, values.shape[2])
        found = zip(values[:, 0].unbind(1), masks.unbind(1), annotated.unbind(1))
    else:  # one class per row, with the mask of that class
        check_class_count(masks, values.shape[2])
        rows, classes = torch.arange(len(masks), device=masks.device), _answers(values, scores, batch["y"])[:, 0, 0]
        found = [(values[rows, 0, classes], masks[rows, classes], annotated[rows, classes])]
    for score, mask, rows in found:
        if rows.any():
            yield score, mask[:, None], rows


def _choose(values, scores, y):
    """The wanted log-probabilities of every question, shape (n, n_questions)."""
    return values.sum(2) if scores == "sum_log_prob" else values.gather(2, _answers(values, scores, y))[:, :, 0]


def _answers(values, scores, y):
    """Positions of the true or predicted answers, shape (n, n_questions, 1)."""
    return values.argmax(2, keepdim=True) if scores == "max" else y.long().reshape(*values.shape[:2], 1)
