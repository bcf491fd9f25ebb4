"""What the explainers of shap are given so that they explain a batch of ours, and nothing of theirs stays behind."""

import contextlib
import threading
import warnings

import numpy as np
import torch
from torch import nn

from ._baselines import make_baseline
from ._gradients import predict_target, repeat_target
from ._subject import resolve_subject
from ._targets import select_scores

_MOST_BACKGROUND = 100
_HALVED_AT_ONCE = 32  # shap looks where to go on after so many images, so that this is part of the result
_SAMPLES_AT_ONCE = 64  # shap holds the samples of one call several times in memory
_NUMPY_GENERATOR = threading.RLock()  # there is one per process


class PartitionEngine:
    """Owen values of rectangles by ``shap.PartitionExplainer``.

    shap's image masker is given a picture of ones, of which it sets hidden pixels to 0: a picture of what is visible.
    The images themselves never leave the device, and all channels of a pixel are hidden together.

    Parameters
    ----------
    subject : Subject
        What is explained.
    fill : object
        What takes the place of hidden pixels, see :func:`make_baseline`.
    max_evals : int
        Images shown to the network per row.
    """

    def __init__(self, subject, fill, max_evals):
        self.subject = subject
        self.hidden = make_baseline(subject, fill, "fill")
        self.options = {"max_evals": max_evals, "batch_size": _HALVED_AT_ONCE}
        shap = _import_shap()
        height, width = (1,) * (2 - len(subject.spatial)) + subject.spatial
        self.ones = np.ones((1, height, width, 1), dtype=np.float32)
        masker = shap.maskers.Image(0, shape=self.ones.shape[1:])
        masker.fixed_background = False  # the score with everything hidden is another for every row
        self.explainer = shap.PartitionExplainer(self._scores, masker)

    def explain(self, batch, seeds):
        """Explain a batch.

        Parameters
        ----------
        batch : dict
            Of :func:`collect_maps`.
        seeds : ndarray of int
            By row number.

        Returns
        -------
        maps : Tensor of shape (n, H, W) or (n, T)
            Maps.
        differences : Tensor of float64 of shape (n,)
            What each map should add up to.
        """
        X, numbers = batch["X"], batch["index"].cpu().numpy()
        hidden = self.hidden(X, batch["index"]).expand_as(X)
        targets, scores = predict_target(self.subject, X, batch["target"])
        maps, bases = [], []
        for row, number in enumerate(numbers):
            self._row = X[row : row + 1], hidden[row : row + 1], _entry(targets, row)
            with _lent_generator(seeds[number]):
                found = self.explainer(self.ones, silent=True, **self.options)
            maps.append(torch.from_numpy(found.values.reshape(self.subject.spatial)))
            bases.append(float(found.base_values.ravel()[0]))
        return torch.stack(maps), scores.double().cpu() - torch.tensor(bases, dtype=torch.float64)

    def _scores(self, visible):
        """Scores for pictures of what is visible, of shape (m, H, W, 1)."""
        X, hidden, target = self._row
        visible = torch.from_numpy(visible.reshape(len(visible), 1, *self.subject.spatial)).to(X.device) > 0
        with torch.no_grad():
            parts = visible.split(self.subject.rows_per_pass)
            scores = [_scores(self.subject, torch.where(part, X, hidden), target) for part in parts]
        return torch.cat(scores).double().cpu().numpy()


class GradientEngine:
    """Expected gradients by ``shap.GradientExplainer``.

    Parameters
    ----------
    subject : Subject
        What is explained.
    rows : Subject
        Background rows.
    seed : int
        Decides which of them.
    max_evals : int
        Gradients per row.
    """

    def __init__(self, subject, rows, seed, max_evals):
        self.subject = subject
        batch_size = subject.rows_per_pass
        if rows.n_rows < 2:
            raise ValueError(f"background needs at least two rows to average over, got {rows.n_rows}; give others")
        drawn = np.random.RandomState(seed).choice(rows.n_rows, min(_MOST_BACKGROUND, rows.n_rows), replace=False)
        network = rows.module if rows.estimator is None else rows.estimator
        some = resolve_subject(network, _take(rows.X, np.sort(drawn)), batch_size=batch_size)
        if some.image_shape != subject.image_shape:
            raise ValueError(
                f"background has images of shape {some.image_shape}, but X of {subject.image_shape}; give rows like X"
            )
        with subject.explaining(), torch.no_grad():
            self.background = torch.cat([batch["X"] for batch in some.batches()])
            self.logits = torch.cat([subject.infer(part.clone()) for part in self.background.split(batch_size)])
        self.sizes = [len(part) for part in np.array_split(np.arange(max_evals), -(-max_evals // _SAMPLES_AT_ONCE))]
        self.network = _OneScore(subject, self.background.dtype)
        background = self.background.float()  # shap computes in float32
        self.explainer = _import_shap().GradientExplainer(self.network, background, batch_size=batch_size)

    def explain(self, batch, seeds):
        """Explain a batch; see :meth:`PartitionEngine.explain`."""
        X = batch["X"]
        targets, scores = predict_target(self.subject, X, batch["target"])
        maps, bases = [], []
        for row, number in enumerate(batch["index"].cpu().numpy()):
            self.network.target = target = _entry(targets, row)
            values = np.zeros(X.shape[1:])
            with _lent_generator(seeds[number]), torch.enable_grad():
                for size, seed in zip(self.sizes, np.random.randint(np.iinfo(np.int32).max, size=len(self.sizes))):
                    found = self.explainer.shap_values(X[row : row + 1].float(), nsamples=size, rseed=seed)
                    values += found[0, ..., 0] * (size / sum(self.sizes))
            maps.append(torch.from_numpy(values.sum(axis=0)))
            background = select_scores(self.logits, repeat_target(target, len(self.logits)), self.subject.kind)
            bases.append(float(background.double().mean()))
        return torch.stack(maps), scores.double().cpu() - torch.tensor(bases, dtype=torch.float64)


class _OneScore(nn.Module):
    """The score of ``target`` as a network with one output.

    The explained network is no part of it: shap sets this module's mode and clears its gradients.
    """

    def __init__(self, subject, dtype):
        super().__init__()
        self.subject = subject
        self.dtype = dtype
        self.target = None

    def forward(self, X):
        if self.target is None:  # shap asks for the shape of the outputs first
            return X.new_zeros(len(X), 1)
        # Networks may overwrite their input, and some compute in other numbers than shap.
        return _scores(self.subject, X.to(self.dtype, copy=True), self.target)[:, None]


def _scores(subject, X, target):
    return select_scores(subject.infer(X), repeat_target(target, len(X)), subject.kind)


def _take(X, rows):
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return (np.asarray(X) if isinstance(X, (list, tuple)) else X)[rows]


def _entry(targets, row):
    return targets if isinstance(targets, str) else targets[row : row + 1]


@contextlib.contextmanager
def _lent_generator(seed):
    """Have NumPy's global generator start from a seed during the block, and put it back."""
    with _NUMPY_GENERATOR:
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


def _import_shap():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that shap imports
        import shap
    return shap
