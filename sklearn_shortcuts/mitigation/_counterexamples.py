"""Training on copies of the rows whose wrong regions show something else."""

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from ..neural import CrossEntropy, Penalty

FILLS = ("noise", "mean", "shuffle", "swap")


class CounterexampleAugmentation(Penalty):
    """Train also on copies of the annotated rows whose wrong region shows something else.

    The penalty of a row is the cross-entropy of its copies, which have the row's class: the network learns that what
    the region shows tells nothing. It needs no gradient with respect to the images and works with every network. A
    step costs one more forward and backward pass per copy.

    Parameters
    ----------
    fill : {"noise", "mean", "shuffle", "swap"}, default="noise"
        What the region of a copy shows, anew in every epoch and in all channels:

        - "noise": uniform noise from the smallest to the largest value that the channel has in the batch;
        - "mean": mean of the row's pixels outside the region (of the whole row if there are none);
        - "shuffle": the row's own pixels of the region in random order. A region of one gray level stays as it is;
        - "swap": the pixels that another row of the batch has in the same places. A batch of one row stays as it is.
    n_copies : int, default=1
        Copies per row and step; the penalty is their mean.

    See Also
    --------
    ExplanationRegularizedClassifier : Trains with it.

    Notes
    -----
    With one mask per class the mask of a row's own class is filled; with one per label that of one label at random, and
    only that label's cross-entropy counts.

    ``lambda_="auto"`` means 1 for this penalty: a copy then counts as much as its original.

    Unlike the noise of :class:`~sklearn_shortcuts.preprocessing.ROIMasker` and of the region scores, which has mean and
    deviation of what it replaces, this one tells nothing of it, also where a patch has a single gray level.

    References
    ----------
    Teso, S. and Kersting, K. (2019). Explanatory interactive machine learning. AIES.

    Examples
    --------
    >>> from sklearn_shortcuts.mitigation import CounterexampleAugmentation, ExplanationRegularizedClassifier
    >>> ExplanationRegularizedClassifier(penalty=CounterexampleAugmentation("swap"))
    ExplanationRegularizedClassifier(penalty=CounterexampleAugmentation(fill='swap'))
    """

    fields = ("masks", "has_mask")
    needs_input_grad = False
    mask_role = "avoid"
    natural_lambda = 1.0

    _parameter_constraints: dict = {
        "fill": [StrOptions(set(FILLS))],
        "n_copies": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, fill="noise", *, n_copies=1):
        self.fill = fill
        self.n_copies = n_copies

    def build(self, n_samples, n_outputs, kind):
        """Make the callable that computes the penalties.

        Parameters
        ----------
        n_samples : int
            Number of rows of the X given to ``fit``.
        n_outputs : int
            Number of logits per row.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        callable
            Called as ``penalty(module, batch)``; gives the mean cross-entropy of the copies of each row, shape (n,),
            and 0 for rows without a mask.
        """
        self._validate_params()
        criterion = CrossEntropy().build(n_samples, n_outputs, kind)
        return _Counterexamples(self.fill, self.n_copies, criterion, kind)


class _Counterexamples:
    def __init__(self, fill, n_copies, criterion, kind):
        self.fill = fill
        self.n_copies = n_copies
        self.criterion = criterion
        self.kind = kind

    def __call__(self, module, batch):
        images = batch["X"].detach()
        penalties = batch["logits"].new_zeros(len(images))
        masks, labels = self._regions(batch, images.ndim)
        annotated = torch.nonzero(batch["has_mask"] & masks.flatten(1).any(1))[:, 0]
        if len(annotated) == 0:
            return penalties
        # Batch normalization cannot train on one row: another one keeps it company.
        rows = annotated if len(annotated) > 1 else torch.cat([annotated, (annotated + 1) % len(images)])
        copies = torch.cat([self._filled(images, masks, rows) for _ in range(self.n_copies)])
        logits = module(copies)
        logits = (logits[0] if isinstance(logits, tuple) else logits).to(penalties.dtype)
        losses = self._losses(logits, batch, rows.repeat(self.n_copies), labels)
        return penalties.index_put((annotated,), losses.reshape(self.n_copies, -1).mean(0)[: len(annotated)])

    def _regions(self, batch, n_axes):
        """Regions to fill, shape (n, *spatial), and the label that each stands for where it stands for one of many."""
        masks = batch["masks"] >= 0.5
        if masks.ndim < n_axes:
            return masks, None
        if self.kind != "multilabel":
            return masks[torch.arange(len(masks), device=masks.device), batch["y"]], None
        # What is wrong for one label may be right for another: fill the region of one, and look at that one only.
        chance = torch.rand(masks.shape[:2], device=masks.device) + masks.flatten(2).any(2)
        labels = chance.argmax(1)
        return masks[torch.arange(len(masks), device=masks.device), labels], labels

    def _losses(self, logits, batch, rows, labels):
        batch = {name: batch[name][rows] for name in ("y", "label_weight") if name in batch}
        if labels is None:
            return self.criterion(logits, batch, True)
        one = labels[rows][:, None]
        return self.criterion(
            logits.gather(1, one), {name: value.gather(1, one) for name, value in batch.items()}, True
        )

    def _filled(self, images, masks, rows):
        """Copies of some rows of a batch with their regions filled."""
        own, inside = images[rows], masks[rows][:, None]
        if self.fill == "noise":
            spatial = [0, *range(2, images.ndim)]
            low, high = images.amin(spatial, keepdim=True), images.amax(spatial, keepdim=True)
            other = low + (high - low) * torch.rand_like(own)
        elif self.fill == "mean":
            outside = (~inside).to(own.dtype)
            counted = torch.where(outside.flatten(1).any(1).reshape(-1, *[1] * (own.ndim - 1)), outside, 1.0)
            spatial = list(range(2, own.ndim))
            other = (own * counted).sum(spatial, keepdim=True) / counted.sum(spatial, keepdim=True)
        elif self.fill == "swap":
            if len(images) == 1:
                return own
            distance = torch.randint(1, len(images), rows.shape, device=rows.device)
            other = images[(rows + distance) % len(images)]
        else:
            return _shuffled(own, inside)
        return torch.where(inside, other, own)


def _shuffled(images, inside):
    """Put the pixels inside each region into random order, those of all channels into the same."""
    flat, region = images.flatten(2), inside.flatten(2)[:, 0]
    # Sorted by random numbers, the region's pixels come first; sorted by place, they come first as well.
    number = torch.rand(region.shape, device=images.device)
    drawn = torch.where(region, number, 2.0).argsort(1)
    places = (~region).long().argsort(dim=1, stable=True)
    source = torch.arange(region.shape[1], device=images.device).expand_as(region)
    source = torch.where(region, source.scatter(1, places, drawn), source)
    return flat.gather(2, source[:, None].expand_as(flat)).reshape(images.shape)
