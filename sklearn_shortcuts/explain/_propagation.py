"""Layer-wise relevance propagation through whatever a network computes."""

import contextlib
import copy
import sys

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ._attention_rules import added_product, attention, concatenation, multi_head_attention, product, softmax
from ._gradients import score_relevances
from ._relevance_rules import Average, Ledger, Linear, LinearLayer, Overwrite, Pass, PassInPlace, Sum


@contextlib.contextmanager
def propagated_relevance(subject, example):
    """Propagate relevance by the rules epsilon (linear layers), z+ (convolutions) and flat (first layer).

    The functions of torch that the network calls are replaced while it runs, in this thread only. The network itself
    is not changed.

    Parameters
    ----------
    subject : Subject
        Network.
    example : Tensor of shape (n, C, H, W) or (n, C, T)
        Not used: the rules need no trial run.

    Yields
    ------
    callable
        ``propagate(X, target) -> (scores, relevances, taken)``; ``taken``, of shape (n,), is the relevance that the
        biases took.

    Raises
    ------
    ValueError
        If the network was made by ``torch.jit``, whose functions cannot be replaced.
    """
    precise = precise_subject(subject)

    def propagate(X, target):
        rules = Rules(subject.module, len(X))
        scores, relevances = score_relevances(precise, X, target, method="lrp", network=rules.forward)
        return scores, relevances, rules.ledger.taken + torch.zeros_like(scores)

    yield propagate


def precise_subject(subject):
    """Give the subject as relevance is propagated through it: not in bfloat16, and with functions to replace."""
    for name, part in subject.module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ValueError(
                f"method='lrp' cannot look into the compiled layer {_describe(name, part)}; give the network as it was "
                f"before torch.jit, or use method='gradient_x_input'"
            )
    precise = copy.copy(subject)
    precise.autocast = False
    return precise


class Rules(TorchFunctionMode):
    """Gives every function that a network calls the rule of relevance propagation for its backward pass.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    n_rows : int
        Rows of the batch.
    audits : bool, default=False
        See :class:`Ledger`.
    """

    def __init__(self, module, n_rows, audits=False):
        super().__init__()
        self.module = module
        self.ledger = Ledger(n_rows, audits)
        self.is_first = True

    def forward(self, images):
        """Run the network."""
        with self:
            return self.module(images)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        if name not in _DATA_MOVES and any(map(_depends, (*args, *kwargs.values()))):
            rule = _RULES.get(name)
            if rule is not None:
                return rule(self, func, args, kwargs)
            result = func(*args, **kwargs)
            if _depends(result):
                raise self.missing_rule(name)
            return result
        return func(*args, **kwargs)

    @staticmethod
    def depends(value):
        """Whether a value depends on the images."""
        return _depends(value)

    def tap(self, outputs):
        """Make it possible to ask for the relevance of what a layer gives.

        A normalization that follows directly on a convolution is part of it, and one that a convolution follows is part
        of that. The relevance of the convolution's own output is then that of the normalization's output, and the
        relevance of what the normalization gives is that of what it gets.

        Parameters
        ----------
        outputs : Tensor
            What the layer gives, in the graph of the forward pass.

        Returns
        -------
        outputs : Tensor
            What goes on in their place.
        places : list of Tensor
            Where their relevance arrives; all parts of it add up. The list may grow until the forward pass ends.
        """
        normalized, linear = _marked(outputs, "_normalized"), _marked(outputs, "_linear")
        if normalized is not None:
            x, *affine = normalized
            places = [x.clone()]
            going_on = Pass.apply(places[0], [outputs.detach().clone()])
            return _mark(going_on, "_normalized", (places[0], *affine)), places
        places = [outputs.clone()]
        going_on = places[0].clone()  # which later functions may overwrite
        if linear is not None:
            _mark(going_on, "_linear", linear)
            _mark(going_on, "_taps", [*(_marked(outputs, "_taps") or ()), places])
        return going_on, places

    def missing_rule(self, name):
        """Give the error for a function without a rule, with the layer that calls it."""
        names = {id(part): path for path, part in self.module.named_modules()}
        frame, layer = sys._getframe(), None
        while frame is not None and layer is None:
            caller = frame.f_locals.get("self")
            layer = caller if isinstance(caller, nn.Module) and id(caller) in names else None
            frame = frame.f_back
        layer = self.module if layer is None else layer
        return ValueError(
            f"method='lrp' has no rule for {name!r} in the layer {_describe(names[id(layer)], layer)}; "
            f"method='gradient_x_input' works with any network"
        )


def _describe(name, layer):
    return f"{name!r} ({type(layer).__name__})" if name else type(layer).__name__


def _depends(value):
    """Whether a value depends on the images."""
    if isinstance(value, torch.Tensor):
        return value.requires_grad
    return isinstance(value, (tuple, list)) and any(map(_depends, value))


def _without_graph(func, args, kwargs):
    with torch.no_grad():
        return func(
            *(value.detach() if isinstance(value, torch.Tensor) else value for value in args),
            **{name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in kwargs.items()},
        )


def _bind(names, args, kwargs):
    """Give the arguments of a function by name."""
    return dict(zip(names, args)) | kwargs


def _elementwise(rules, func, args, kwargs):
    """A function of one value only: all of the relevance goes to that."""
    x = args[0] if args else kwargs["input"]
    if sum(map(_depends, (*args, *kwargs.values()))) > 1 or not _depends(x):
        raise rules.missing_rule(func.__name__)
    return _passed(x, func, args, kwargs)


def _passed(x, func, args, kwargs):
    version = x._version
    outputs = _without_graph(func, args, kwargs)
    return PassInPlace.apply(x) if x._version != version else Pass.apply(x, [outputs])


def _convolution(rules, func, args, kwargs):
    given = _bind(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, kwargs)
    if given["input"].ndim == 4 and given["input"].is_contiguous(memory_format=torch.channels_last):
        # Otherwise torch would order the weights anew in each of the three passes.
        given["weight"] = given["weight"].contiguous(memory_format=torch.channels_last)
        args, kwargs = (), given
    geometry = {name: value for name, value in given.items() if name not in ("input", "weight", "bias")}
    bias = given.get("bias")
    return _linear_layer(
        rules,
        func,
        args,
        kwargs,
        apply=lambda x, weight, bias=None: func(x, weight, bias, **geometry),
        bias=None if bias is None else bias.reshape(1, -1, *[1] * (given["weight"].ndim - 2)),
        rule="plus",
        groups=geometry.get("groups", 1),
    )


def _dense(rules, func, args, kwargs):
    bias = _bind(("input", "weight", "bias"), args, kwargs).get("bias")
    return _linear_layer(rules, func, args, kwargs, apply=func, bias=bias, rule="epsilon")


def _linear_layer(rules, func, args, kwargs, *, rule, **parts):
    given = _bind(("input", "weight"), args, kwargs)
    x, weight = given["input"], given["weight"]
    if _depends(weight):
        raise rules.missing_rule(func.__name__)
    layer = LinearLayer(weight=weight.detach(), rule="flat" if rules.is_first else rule, ledger=rules.ledger, **parts)
    rules.is_first = False
    outputs = _without_graph(func, args, kwargs)
    normalized = _marked(x, "_normalized")
    if normalized is not None:
        x, scale, shift = normalized
        layer = LinearLayer(**{**vars(layer), "input_scale": scale, "input_shift": shift})
    result = Linear.apply(x, [outputs], layer)
    return _mark(result, "_linear", (x, layer))


# What made a tensor is noted on the tensor itself, and holds until it is overwritten.
def _mark(tensor, name, value):
    setattr(tensor, name, (tensor._version, value))
    return tensor


def _marked(tensor, name):
    version, value = getattr(tensor, name, (None, None))
    return value if version == tensor._version else None


def _normalization(affine):
    """Make a rule of a function that gives the affine map per channel which a normalization is."""

    def rule(rules, func, args, kwargs):
        x = args[0] if args else kwargs["input"]
        scale, shift, sign = affine(x.detach(), args, kwargs)
        outputs = _without_graph(func, args, kwargs)
        origin = _marked(x, "_linear")
        if origin is not None:
            source, layer = origin
            result = Linear.apply(source, [outputs], layer.followed_by(scale, shift, sign))
            for places in _marked(x, "_taps") or ():
                places.append(result.clone())
                result = places[-1].clone()
            return result
        return _mark(Pass.apply(x, [outputs]), "_normalized", (x, scale, shift))

    return rule


def _affine(mean, variance, eps, weight, bias):
    """Scale and shift of a normalization whose statistics are held fixed."""
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight.detach()
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias.detach()


def _per_channel(values, ndim):
    return None if values is None else values.detach().reshape(1, -1, *[1] * (ndim - 2))


def _sign(weight, n_channels, like):
    return like.new_ones(n_channels) if weight is None else weight.detach().sign()


def _batch_affine(x, args, kwargs):
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = _bind(names, args, kwargs)
    mean, variance, weight = given["running_mean"], given["running_var"], given.get("weight")
    if given.get("training") or mean is None:  # no running statistics are kept
        variance, mean = torch.var_mean(x.transpose(0, 1).flatten(1), dim=1, correction=0)
    values = [_per_channel(value, x.ndim) for value in (mean, variance, weight, given.get("bias"))]
    scale, shift = _affine(values[0], values[1], given.get("eps", 1e-5), *values[2:])
    return scale, shift, _sign(weight, x.shape[1], x)


def _group_affine(x, args, kwargs):
    given = _bind(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    n_groups, weight = given["num_groups"], given.get("weight")
    variance, mean = torch.var_mean(x.reshape(len(x), n_groups, -1), dim=2, correction=0)
    shape = (len(x), x.shape[1], *[1] * (x.ndim - 2))
    mean, variance = (
        value.repeat_interleave(x.shape[1] // n_groups, dim=1).reshape(shape) for value in (mean, variance)
    )
    affine = (_per_channel(value, x.ndim) for value in (weight, given.get("bias")))
    return *_affine(mean, variance, given.get("eps", 1e-5), *affine), _sign(weight, x.shape[1], x)


def _average(rules, func, args, kwargs):
    x, rest = (args[0], args[1:]) if args else (kwargs["input"], ())
    others = {name: value for name, value in kwargs.items() if name != "input"}
    outputs = _without_graph(func, args, kwargs)
    return Average.apply(x, [outputs], lambda values: func(values, *rest, **others), rules.ledger)


def _arithmetic(operation, in_place=False):
    """Make the rule of a function of two values, of which one may be a constant."""

    def rule(rules, func, args, kwargs):
        a, b = args[:2] if len(args) > 1 else (args[0] if args else kwargs["input"], kwargs["other"])
        if not (_depends(a) and _depends(b)):
            x = a if _depends(a) else b
            if in_place and x is b:
                return Overwrite.apply(a, Pass.apply(b, [_without_graph(func, (a.clone(), *args[1:]), kwargs)]))
            return _passed(x, func, args, kwargs)
        if operation is None:
            return _gated(rules, func, a, b, args, kwargs, in_place)
        before = a.clone() if in_place else a
        sign = operation * kwargs.get("alpha", 1)
        outputs = torch.add(before.detach(), b.detach(), alpha=sign)
        result = Sum.apply(before, b, sign, [outputs], rules.ledger)
        return Overwrite.apply(a, result) if in_place else result

    return rule


def _gated(rules, func, a, b, args, kwargs, in_place):
    """Product of a signal and a gate that is the same at all positions: the signal takes all."""
    if a.numel() == b.numel():
        raise rules.missing_rule(func.__name__)
    signal = a if a.numel() > b.numel() else b
    outputs = _without_graph(func, (a.clone(), b) if in_place else args, kwargs)
    result = Pass.apply(signal, [outputs])
    return Overwrite.apply(a, result) if in_place else result


def _names(text):
    return text.split()


_AXES = ("1d", "2d", "3d")
# Their gradient passes relevance on as it should be: to where a value came from, to the largest of several.
_DATA_MOVES = {
    *_names("reshape view view_as flatten unflatten ravel permute transpose t movedim swapaxes swapdims squeeze"),
    *_names("unsqueeze contiguous clone to float double cpu type type_as expand expand_as broadcast_to repeat"),
    *_names("repeat_interleave tile hstack vstack stack split chunk unbind narrow select"),
    *_names("index_select __getitem__ __get__ pad roll flip pixel_shuffle pixel_unshuffle channel_shuffle"),
    *_names("tensor_split amax max where"),
    *(f"max_pool{axes}" for axes in _AXES),
    *(f"adaptive_max_pool{axes}" for axes in _AXES),
}
_ELEMENTWISE = {
    *_names("relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ gelu silu mish hardswish hardtanh"),
    *_names("hardtanh_ sigmoid sigmoid_ hardsigmoid tanh tanh_ hardshrink softshrink softplus softsign tanhshrink"),
    *_names("logsigmoid prelu rrelu rrelu_ threshold threshold_ clamp clamp_ clamp_min clamp_min_ clip"),
    *_names("dropout alpha_dropout feature_alpha_dropout masked_fill masked_fill_ layer_norm rms_norm"),
    *(f"dropout{axes}" for axes in _AXES),
}
_RULES = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **{f"conv{axes}": _convolution for axes in _AXES},
    "linear": _dense,
    "batch_norm": _normalization(_batch_affine),
    "group_norm": _normalization(_group_affine),
    **dict.fromkeys([f"{kind}avg_pool{axes}" for kind in ("", "adaptive_") for axes in _AXES], _average),
    **dict.fromkeys(("mean", "sum"), _average),
    **dict.fromkeys(("cat", "concat", "concatenate"), concatenation),
    **dict.fromkeys(("matmul", "__matmul__", "__rmatmul__", "bmm", "mm", "einsum"), product),
    "baddbmm": added_product(torch.bmm),
    "addmm": added_product(torch.mm),
    "softmax": softmax,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": multi_head_attention,
    **dict.fromkeys(("add", "__add__", "__radd__"), _arithmetic(1)),
    **dict.fromkeys(("add_", "__iadd__"), _arithmetic(1, in_place=True)),
    **dict.fromkeys(("sub", "subtract", "__sub__"), _arithmetic(-1)),
    **dict.fromkeys(("sub_", "__isub__"), _arithmetic(-1, in_place=True)),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), _arithmetic(None)),
    **dict.fromkeys(("mul_", "__imul__"), _arithmetic(None, in_place=True)),
    **dict.fromkeys(
        ("rsub", "__rsub__", "neg", "div", "true_divide", "__truediv__", "div_", "__itruediv__"), _elementwise
    ),
}
