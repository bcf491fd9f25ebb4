"""Where in the images a direction of a layer comes from."""

import torch

from ..explain._collect import collect_maps
from ..explain._formulas import as_map, upsample
from ..explain._layer_relevance import propagate_from_layer
from ..explain._subject import resolve_subject
from ..explain._taps import tapped
from ..neural._channel_axis import has_channels_last

_POOLS = {"mean": lambda values: values.mean(2), "max": lambda values: values.amax(2)}
POOLS = tuple(_POOLS)


def concept_maps(estimator, X, layer, direction, *, method, pool, channel_axis=None, batch_size=None):
    """Show where in the images a direction of a layer comes from.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted.
    X : ImageBunch or array-like
        Images.
    layer : str
        Name of a layer, or "last".
    direction : ndarray of shape (n_channels,)
        Direction.
    method : {"activation", "gradient", "lrp"}
        How it is traced back.
    pool : {"mean", "max"}
        How the positions of a channel are pooled for the projection on the direction.
    channel_axis : {None, 1, -1}, default=None
        Axis of the channels in the layer's output.
    batch_size : int, default=None
        Images per batch.

    Returns
    -------
    maps : ndarray of shape (n, H, W) or (n, T), dtype float32
        Evidence for the direction, at least 0, in the size of the images as the network gets them.
    features : ndarray of shape (n, n_channels)
        Pooled activations.
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size)
    tracer = _Tracer(subject, layer, direction, pool, channel_axis)
    maps = collect_maps(
        subject,
        lambda batch: getattr(tracer, method)(batch["X"]).relu(),
        target="predicted",
        method=method,
        layer=layer,
        details={"features": tracer.features},
    )
    return maps.view(type(maps).__base__), maps.details["features"]


class _Tracer:
    """Traces a direction of a layer back to the images of a batch."""

    def __init__(self, subject, layer, direction, pool, channel_axis):
        self.subject = subject
        self.layer = layer
        self.direction = direction
        self.pool = pool
        self.channel_axis = channel_axis
        self.features = []

    def activation(self, X):
        """Activations above zero times the direction, summed over channels."""
        with torch.no_grad():
            part, values = self._outputs(X)
            self._note(self._by_channel(part, values, X.ndim))
            if values.ndim == 2 or self.layer == "last":
                raise ValueError(
                    f"layer: {self.layer!r} has no positions that method='activation' could show; name an earlier "
                    "layer, or give method='gradient' or 'lrp'"
                )
            placed = as_map(values.relu(), self.subject.spatial)
            maps = torch.einsum("nc...,c->n...", placed, self._direction_like(placed))
            return upsample(maps.float(), self.subject.spatial)

    def gradient(self, X):
        """Gradient of the projection with respect to the image, times the image."""
        images = X.detach().clone().requires_grad_()
        with torch.enable_grad():
            part, values = self._outputs(images.clone())
            if not values.requires_grad:
                raise ValueError(
                    f"layer: {self.layer!r} does not depend on the images in a way torch can follow; name another"
                )
            features = self._note(self._by_channel(part, values, X.ndim))
            (gradient,) = torch.autograd.grad((features @ self._direction_like(features)).sum(), images)
        return (gradient * images.detach()).sum(1)

    def lrp(self, X):
        """Relevance of the pixels, propagated from what ``activation`` shows."""

        def start(values):
            self._note(values)
            return values.relu() * self._direction_like(values)[:, None]

        _, relevances, _ = propagate_from_layer(self.subject, X, self.layer, start, channel_axis=self.channel_axis)
        return relevances.sum(1)

    def _outputs(self, X):
        found = {}

        def keep(name, part, values):
            found[name] = part, values.clone()  # which later layers may overwrite

        with tapped(self.subject.module, [self.layer], keep):
            self.subject.infer(X.clone() if not X.requires_grad else X)
        if not found:
            raise ValueError(f"layer: {self.layer!r} took no part in the forward pass; name another layer")
        part, values = found[self.layer]
        return part, values.float() if values.dtype in (torch.bfloat16, torch.float16) else values

    def _by_channel(self, part, values, image_ndim):
        if has_channels_last(part, values, image_ndim, self.channel_axis):
            values = values.movedim(-1, 1)
        return values.flatten(2) if values.ndim > 2 else values[:, :, None]

    def _note(self, values):
        """Pooled activations, kept beside the map."""
        if values.shape[1] != len(self.direction):
            raise ValueError(
                f"concept: its vector has {len(self.direction)} features, but layer {self.layer!r} has "
                f"{values.shape[1]} channels; give the layer that it was fitted on"
            )
        features = _POOLS[self.pool](values)
        self.features.append(features.detach())
        return features

    def _direction_like(self, values):
        return torch.as_tensor(self.direction, dtype=values.dtype, device=values.device)
