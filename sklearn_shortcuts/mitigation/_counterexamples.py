"""Training on copies of the rows whose wrong regions show something else."""

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from ..neural import CrossEntropy, Penalty
from ..neural._structure import main_output
from ._class_masks import masks_by_class

FILLS = ("exchange", "swap", "noise", "mean", "shuffle")


class CounterexampleAugmentation(Penalty):
    """Train also on copies of the annotated rows whose wrong region shows something else.

    The penalty of a row is the cross-entropy of its copies, which have the row's class: the network learns that what
    the region shows tells nothing. It needs no gradient with respect to the images and works with every network. A
    step costs one more forward and backward pass per copy.

    Parameters
    ----------
    fill : {"exchange", "swap", "noise", "mean", "shuffle"}, default="exchange"
        What the region of a copy shows, anew in every epoch and in all channels:

        - "exchange": the pixels that another row of the batch has in the same places, in the other's region as well:
          what either region shows changes hands. A row with an empty mask, which says that there is nothing wrong in
          it, gets the region of a row that has one;
        - "swap": the same within the row's own region only;
        - "noise": uniform noise from the smallest to the largest value that the channel has in the batch;
        - "mean": mean of the row's pixels outside the region (of the whole row if there are none);
        - "shuffle": the row's own pixels of the region in random order. A region of one gray level stays as it is.
    n_copies : int, default=1
        Copies per row and step; the penalty is their mean.

    See Also
    --------
    ExplanationRegularizedClassifier : Trains with it.

    Notes
    -----
    With one mask per class the mask of a row's own class is filled; with one per label that of one label at random, and
    only that label's cross-entropy counts. An empty one says nothing of its class or label, also with "exchange".

    ``lambda_="auto"`` means 1 for this penalty: the copies then count as much as the originals.

    A tube or a text that some rows show and others do not tells the class by its absence, too. Only "exchange" also
    adds it to the rows without. It needs empty masks for the rows that are known to be free of it. In the user guide's
    benchmark, on generated radiographs with such an artifact, it comes close to training on clean data, where penalties
    on gradients and maps do not.

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

    def __init__(self, fill="exchange", *, n_copies=1):
        self.fill = fill
        self.n_copies = n_copies

    @property
    def uses_empty_masks(self):
        """Whether a row whose mask marks nothing has a penalty."""
        return self.fill == "exchange"

    @property
    def needs_other_rows(self):
        """Whether a batch of one row has no copies."""
        return self.fill in ("exchange", "swap")

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
        masks, known = masks_by_class(batch)
        masks = masks >= 0.5
        labels = self._labels(masks, batch["y"]) if masks.ndim == images.ndim else None
        parts = [self._fill(images, masks, known, labels) for _ in range(self.n_copies)]
        copies, changed = (torch.cat(part) for part in zip(*parts))
        copied = torch.nonzero(changed)[:, 0]
        if len(copied) == 0:
            return penalties
        # Batch normalization cannot train on one row: another one keeps it company.
        given = copied if len(copied) > 1 else torch.cat([copied, (copied + 1) % len(copies)])
        logits = module(copies[given])
        logits = main_output(logits).to(penalties.dtype)
        losses = self._losses(logits, batch, given % len(images), labels)[: len(copied)]
        n_copies = changed.reshape(self.n_copies, -1).sum(0)
        return penalties.index_add(0, copied % len(images), losses) / n_copies.clamp(min=1)

    def _labels(self, masks, y):
        """Which of several masks per row is looked at."""
        if self.kind != "multilabel":
            return y
        # What is wrong for one label may be right for another: fill the region of one, and look at that one only.
        return (torch.rand(masks.shape[:2], device=masks.device) + masks.flatten(2).any(2)).argmax(1)

    def _losses(self, logits, batch, rows, labels):
        batch = {name: batch[name][rows] for name in ("y", "label_weight") if name in batch}
        if labels is None or self.kind != "multilabel":
            return self.criterion(logits, batch, True)
        one = labels[rows][:, None]
        batch = {name: value.gather(1, one) for name, value in batch.items()}
        return self.criterion(logits.gather(1, one), batch, True)

    def _fill(self, images, masks, known, labels):
        """Copies of all rows of a batch, and which of them differ from their original."""
        rows = torch.arange(len(images), device=images.device)
        region, known_own = (masks, known[:, 0]) if labels is None else (masks[rows, labels], known[rows, labels])
        region = region & known_own.reshape(-1, *[1] * (region.ndim - 1))
        donors = rows
        if self.fill in ("exchange", "swap"):
            donors = _donors(region.flatten(1).any(1), needy=self.fill == "exchange")
        if self.fill == "exchange":
            theirs = masks[donors] if labels is None else masks[donors, labels]
            known_theirs = known[donors, 0 if labels is None else labels]
            given = (known_own & known_theirs).reshape(-1, *[1] * (region.ndim - 1))
            region = region | (theirs & given)
        changed = region.flatten(1).any(1) & ((donors != rows) if self.fill in ("exchange", "swap") else True)
        inside = region[:, None]
        if self.fill == "noise":
            spatial = [0, *range(2, images.ndim)]
            low, high = images.amin(spatial, keepdim=True), images.amax(spatial, keepdim=True)
            other = low + (high - low) * torch.rand_like(images)
        elif self.fill == "mean":
            outside = (~inside).to(images.dtype)
            any_outside = outside.flatten(1).any(1).reshape(-1, *[1] * (images.ndim - 1))
            counted = torch.where(any_outside, outside, 1.0)
            spatial = list(range(2, images.ndim))
            other = (images * counted).sum(spatial, keepdim=True) / counted.sum(spatial, keepdim=True)
        elif self.fill == "shuffle":
            return _shuffled(images, inside), changed
        else:
            other = images[donors]
        return torch.where(inside, other, images), changed


def _donors(marked, needy):
    """Draw for every row another one, where ``needy`` a marked one for rows that are not marked."""
    n_rows = len(marked)
    allowed = ~torch.eye(n_rows, dtype=torch.bool, device=marked.device)
    if needy:
        allowed &= marked[:, None] | marked[None]
    drawn = torch.where(allowed, torch.rand(n_rows, n_rows, device=marked.device), -1.0).max(1)
    return torch.where(drawn.values >= 0, drawn.indices, torch.arange(n_rows, device=marked.device))


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
