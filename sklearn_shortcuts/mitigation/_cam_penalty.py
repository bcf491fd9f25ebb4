"""What the penalties on class activation maps have in common."""

from abc import ABC, abstractmethod

import torch
from sklearn.utils._param_validation import StrOptions

from ..neural import Penalty
from ._class_masks import check_class_count, masks_by_class
from ._recorded_maps import CAMS, SCORES, MapRecipe, RecordedMaps

_EPS = 1e-6


class CAMPenalty(Penalty):
    """Base of the descriptions of penalties on class activation maps.

    Derived classes have the parameters ``variant``, ``layer``, ``score`` and ``cam``, whose value ``"auto"`` is looked
    up in the class attribute ``_variants``.
    """

    fields: tuple = ("masks", "has_mask")
    mask_role: str | None = "avoid"

    _variants: dict = {}
    _parameter_constraints: dict = {
        "layer": [str],
        "score": [StrOptions({"auto", *SCORES})],
        "cam": [StrOptions({"auto", *CAMS})],
        "relu": ["boolean"],
    }

    def _choice(self, name):
        """Value of a parameter, that of the variant in place of ``"auto"``."""
        value = getattr(self, name)
        return self._variants[self.variant][name] if isinstance(value, str) and value == "auto" else value

    def recipe(self, kind=None):
        """How the penalty makes its maps.

        Parameters
        ----------
        kind : {"binary", "multiclass", "multilabel"}, default=None
            What is predicted; not needed to explain an estimator, which knows it.

        Returns
        -------
        MapRecipe
            The recipe.
        """
        self._validate_params()
        return MapRecipe(*(self._choice(name) for name in ("layer", "score", "cam", "relu")), kind)


class MaskedMapPenalty(ABC):
    """Built form of a penalty that compares the maps of the forward pass with masks.

    Derived classes say in :meth:`compare` how.

    Parameters
    ----------
    recipe : MapRecipe
        How maps are made.
    """

    def __init__(self, recipe):
        self.recorded = RecordedMaps(recipe)

    def watch(self, module):
        """Record the layer during the forward pass."""
        return self.recorded.watch(module)

    @abstractmethod
    def compare(self, maps, masks):
        """Give one value per row.

        Parameters
        ----------
        maps : Tensor of shape (n, h, w) or (n, t)
            Maps at the layer's size.
        masks : Tensor of shape (n, H, W) or (n, T)
            Masks at the images' size.

        Returns
        -------
        Tensor of shape (n,)
            Values.
        """

    def __call__(self, module, batch):
        masks, annotated = masks_by_class(batch)
        values = batch["logits"].new_zeros(len(masks))
        wanted = [position for position, some in enumerate(annotated.any(0).tolist()) if some]
        if masks.ndim == batch["X"].ndim - 1:  # one mask per row
            maps = [self.recorded.maps(batch)] if wanted else []
            masks = masks[:, None]
        else:
            check_class_count(masks, self.recorded.recipe.class_scores(batch["logits"]).shape[1])
            maps = self.recorded.class_maps(batch, wanted)
        for position, class_maps in zip(wanted, maps):
            value = self.compare(class_maps, masks[:, position])
            values = values + torch.where(annotated[:, position], value, 0)
        self.recorded.release()
        return values


def min_max(maps):
    """Shift and divide every map so that it runs from 0 to 1; a constant map becomes 0.

    Parameters
    ----------
    maps : Tensor of shape (n, ...)
        Maps.

    Returns
    -------
    Tensor of shape (n, ...)
        Maps.
    """
    axes = tuple(range(1, maps.ndim))
    maps = maps - maps.amin(axes, keepdim=True)
    return maps / (maps.amax(axes, keepdim=True) + _EPS)
