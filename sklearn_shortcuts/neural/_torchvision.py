"""Classification networks of torchvision."""

from difflib import get_close_matches

from sklearn.utils._param_validation import StrOptions

from ._probe import accepts
from ._spec import ModuleSpec
from ._stem import fit_stem

_LARGEST_SIDE = 1024
_SET_HERE = ("num_classes", "weights", "weights_backbone", "progress", "image_size", "input_size", "aux_logits")


class TorchvisionModule(ModuleSpec):
    """Any classification network of torchvision, for gray, color or many-channel images.

    Names of layers and parameters stay those of torchvision, so that published weights fit and layers can be named
    (``"layer4"``, ``"features.denseblock4"``). Nothing is downloaded: the network starts from random weights, or
    from a local file that the estimator is given as ``weights`` (see :func:`load_weights`).

    Parameters
    ----------
    name : str, default="resnet18"
        Name of the model as in ``torchvision.models.list_models(module=torchvision.models)``: ``"resnet18"``,
        ``"vgg16"``, ``"densenet121"``, ``"mobilenet_v2"``, ``"vit_b_16"``, ...
    stem : {"adapt", "repeat"}, default="adapt"
        What becomes of the first convolution when images do not have three channels. ``"adapt"`` makes it take the
        channels there are; color kernels that are loaded later are summed over the colors and spread evenly over
        the channels. ``"repeat"`` keeps it and repeats the channel of gray images three times. With loaded weights
        both give the same outputs on gray images, ``"adapt"`` with a third of the work in the first layer.
    options : dict, default=None
        Further keyword arguments of torchvision's builder, such as ``{"drop_rate": 0.2}`` for ``"densenet121"`` or
        ``{"width_mult": 0.5}`` for ``"mobilenet_v2"``.

    Notes
    -----
    Images are fed as they come. Published weights expect colors scaled to [0, 1], minus (0.485, 0.456, 0.406),
    divided by (0.229, 0.224, 0.225).

    Vision transformers need square images with a multiple of the patch size (the number at the end of their name)
    as side. GoogLeNet and Inception are built without their auxiliary classifiers.

    Examples
    --------
    >>> from sklearn_shortcuts.neural import TorchvisionModule
    >>> TorchvisionModule("densenet121", stem="repeat")
    TorchvisionModule(name='densenet121', stem='repeat')
    """

    _n_axes = (3,)
    _parameter_constraints: dict = {
        "name": [str],
        "stem": [StrOptions({"adapt", "repeat"})],
        "options": [dict, None],
    }

    def __init__(self, name="resnet18", *, stem="adapt", options=None):
        self.name = name
        self.stem = stem
        self.options = options

    def _build(self, input_shape, n_outputs):
        return build_torchvision(self.name, input_shape, n_outputs, self.stem, self.options or {})


def build_torchvision(name, input_shape, n_outputs, stem, options):
    """Make a torchvision network for images of one shape.

    Parameters
    ----------
    name : str
        Name of a classification model.
    input_shape : tuple of int
        ``(C, H, W)``.
    n_outputs : int
        Number of outputs.
    stem : {"adapt", "repeat"}
        See :class:`TorchvisionModule`.
    options : dict
        Further arguments of torchvision's builder.

    Returns
    -------
    torch.nn.Module
        New network with random weights.

    Raises
    ------
    ValueError
        If the name is unknown, an option is set by the library, or the images are too small or of a wrong shape.
    """
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"torchvision has no classification model called {name!r}{hint}")
    taken = [option for option in _SET_HERE if option in options]
    if taken:
        raise ValueError(f"options of TorchvisionModule cannot hold {', '.join(taken)}: the library sets them")
    sized = _size_arguments(name, input_shape)
    try:
        network = torchvision.models.get_model(name, weights=None, num_classes=n_outputs, **sized, **options)
    except TypeError as error:
        raise ValueError(f"torchvision's {name} does not take the options {options!r}: {error}") from error
    fit_stem(network, input_shape[0], stem)
    if not accepts(network, input_shape):
        raise ValueError(_too_small(network, name, input_shape))
    return network


def _size_arguments(name, input_shape):
    """Arguments of torchvision's builder that depend on the family or on the size of the images."""
    _, height, width = input_shape
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        if height != width or height % patch:
            raise ValueError(
                f"{name} needs square images whose side is a multiple of {patch}, got {height} x {width}; "
                f"resize or pad them"
            )
        return {"image_size": height}
    if name.startswith("maxvit"):
        if height % 224 or width % 224:  # windows of 7 on maps of 1/4 to 1/32 of the side
            raise ValueError(f"{name} needs images whose sides are multiples of 224, got {height} x {width}")
        return {"input_size": (height, width)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _too_small(network, name, input_shape):
    """What to say of images that the network cannot take: the smallest square ones that it can."""
    n_channels, height, width = input_shape
    low, high = 0, _LARGEST_SIDE  # fails at low, succeeds at high
    while high - low > 1:
        middle = (low + high) // 2
        if accepts(network, (n_channels, middle, middle)):
            high = middle
        else:
            low = middle
    return (
        f"{name} needs images of at least {high} x {high} pixels, got {height} x {width}; "
        f"resize them or choose a network that halves them less often"
    )
