"""One file per fitted classifier, readable without running anything that it contains."""

import importlib
import io
import json
import os
import pickle
import secrets
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._version import __version__
from ._layer_hook import is_edited
from ._runtime import own_random_state, parameter_dtype, resolve_device
from ._targets import TargetEncoding
from ._training import build_module, build_net

_FORMAT = 1
_PACKAGE = __name__.partition(".")[0]
_STATE = ("image_shape_", "n_features_in_", "channel_mean_", "channel_std_", "n_iter_")


class PersistenceMixin:
    """Saving a fitted classifier to a file and loading it again."""

    def save(self, path):
        """Write the fitted classifier to one file.

        The file is a zip archive of a JSON text and the network's weights. It holds no pickled objects; optimizer and
        other training state are left out, so that training on after :meth:`load` starts with a fresh optimizer.

        Parameters
        ----------
        path : str or path
            File to write; an existing one is replaced once the new one is complete.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the classifier is not fitted.
        ValueError
            If hooks change what the layers of the network put out, which the file could not hold.
        """
        check_is_fitted(self)
        if is_edited(self.net_.module_):
            raise ValueError(
                "the activations of this network are edited by a hook, which a file of weights cannot hold: pickle the "
                "classifier, or save the weights of what export() of the estimator that edited it gives"
            )
        content = {
            "format": _FORMAT,
            "class": type(self).__name__,
            "version": __version__,
            "parameters": {name: _encode(value) for name, value in self.get_params(deep=False).items()},
            "state": {name: _encode(getattr(self, name)) for name in _STATE},
            "encoding": {name: _encode(value) for name, value in vars(self._encoding).items() if name != "dtype"},
            "target_dtype": np.dtype(self._encoding.dtype).str,
            "scaled_type": None if self._scaled_type is None else self._scaled_type.str,
            "unscaled": self._unscaled,
            "feature_names": _encode(getattr(self, "feature_names_in_", None)),
            "n_samples": self.net_.n_samples,
            "history": self.history_.to_dict("list"),
            "random_state": _encode(self._seeds),
        }
        weights = io.BytesIO()
        torch.save({name: value.cpu() for name, value in self.net_.module_.state_dict().items()}, weights)
        path = Path(path)
        # Unlike the files of tempfile this one gets the usual permissions.
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with open(unfinished, "xb") as file:
            try:
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr("classifier.json", json.dumps(content, indent=1))
                    archive.writestr("weights.pt", weights.getvalue())
                file.close()
                os.replace(unfinished, path)
            except BaseException:
                file.close()
                os.unlink(unfinished)
                raise

    @classmethod
    def load(cls, path, **parameters):
        """Read a classifier that :meth:`save` wrote.

        Nothing in the file is executed: of classes, only those of this library are made.

        Parameters
        ----------
        path : str or path
            File.
        **parameters
            Parameters to use in place of the saved ones. Needed for what a file cannot hold: a network, criterion or
            callback of your own (``module=MyNetwork``); useful for ``device``.

        Returns
        -------
        NeuralImageClassifier
            Fitted classifier.

        Raises
        ------
        ValueError
            If the file is damaged, no such file or written by a later version, or a parameter has to be given.
        TypeError
            If there is no parameter of a given name.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
        >>> images = np.random.default_rng(0).normal(size=(8, 12, 12))
        >>> model = NeuralImageClassifier(SmallCNN(width=2), max_epochs=1).fit(images, [0, 1] * 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.zip")
        ...     again = NeuralImageClassifier.load(f"{folder}/model.zip")
        >>> bool((again.predict_proba(images) == model.predict_proba(images)).all())
        True
        """
        content, weights = _read(path, cls.__name__)
        state = _load_weights(weights, path)
        if unknown := set(parameters) - set(cls._get_param_names()):
            raise TypeError(f"{cls.__name__} has no parameters {sorted(unknown)}")
        try:
            estimator = cls(**_parameters(content["parameters"], parameters, path, cls.__name__))
            estimator._restore(content)
        except (KeyError, TypeError, AttributeError, _AbsentError) as error:
            raise ValueError(f"{path} does not hold what {cls.__name__}.save writes: {error!r}") from error
        estimator._validate_params()
        kind = estimator._encoding.kind
        with own_random_state(0, resolve_device(estimator.device)):
            module, estimator._n_logits = build_module(
                estimator, kind, estimator._encoding.n_outputs, load_weights=False
            )
            _set_weights(module.to(parameter_dtype(estimator.precision)), state, path)
            estimator.net_ = build_net(estimator, module, estimator._n_logits, content["n_samples"], kind)
        for epoch in estimator.history_.rename(columns={"seconds": "dur"}).to_dict("records"):
            estimator.net_.history.new_epoch()
            for name, value in epoch.items():
                estimator.net_.history.record(name, value)
        return estimator

    def _restore(self, content):
        for name in _STATE:
            setattr(self, name, _decode(content["state"][name]))
        if content["feature_names"] is not None:
            self.feature_names_in_ = _decode(content["feature_names"])
        encoding = {name: _decode(value) for name, value in content["encoding"].items()}
        if not isinstance(encoding["classes"], np.ndarray):
            raise TypeError("classes are no array")
        self._set_encoding(TargetEncoding(**encoding, dtype=np.dtype(content["target_dtype"])))
        self._scaled_type = None if content["scaled_type"] is None else np.dtype(content["scaled_type"])
        self._unscaled = bool(content["unscaled"])
        self._seeds = _decode(content["random_state"])
        self.history_ = pd.DataFrame(content["history"])


def _read(path, name):
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("classifier.json"))
            weights = archive.read("weights.pt")
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise ValueError("no format")
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a file that {name}.save wrote, or it is damaged") from error
    if content.get("class") != name:
        raise ValueError(f"{path} holds a {content.get('class')}, not a {name}")
    if content["format"] > _FORMAT:
        raise ValueError(
            f"{path} was written by version {content.get('version')} of {_PACKAGE}, which is later than this one"
        )
    return content, io.BytesIO(weights)


def _load_weights(weights, path):
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read raises as well
            return torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, struct.error) as error:
        raise ValueError(f"the weights in {path} are damaged, or hold more than tensors and were refused") from error


def _set_weights(module, state, path):
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the weights in {path} do not fit the module {type(module).__name__}: {error}") from error


def _parameters(saved, given, path, name):
    values = dict(given)
    for key, value in saved.items():
        if key in given:
            continue
        try:
            values[key] = _decode(value)
        except _AbsentError as error:
            raise ValueError(
                f"{path} cannot hold the parameter {key}={error}: give it, as in {name}.load(path, {key}=...)"
            ) from None
    return values


class _AbsentError(Exception):
    """A value that a file does not hold."""


def _encode(value):
    """Turn a parameter or fitted attribute into what JSON can hold; everything but plain values gets a tag."""
    if value is None or (isinstance(value, (bool, int, float, str)) and type(value).__module__ == "builtins"):
        return value
    if isinstance(value, np.generic):
        return _encode(value.item())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return {"objects": [_encode(item) for item in value]}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, np.random.RandomState):
        name, keys, *rest = value.get_state()
        return {"random_state": [name, keys.tolist(), *rest]}
    location = _public_location(type(value))
    if location is not None:
        parameters = {name: _encode(item) for name, item in value.get_params(deep=False).items()}
        return {"estimator": location, "parameters": parameters}
    return {"absent": getattr(value, "__name__", type(value).__name__)}


def _decode(value):
    if not isinstance(value, dict):
        return value
    if "list" in value or "tuple" in value:
        ((kind, items),) = value.items()
        return (list if kind == "list" else tuple)(_decode(item) for item in items)
    if "dict" in value:
        return {_decode(key): _decode(item) for key, item in value["dict"]}
    if "array" in value:
        return np.array(value["array"], dtype=value["dtype"])
    if "objects" in value:
        result = np.empty(len(value["objects"]), dtype=object)
        result[:] = [_decode(item) for item in value["objects"]]
        return result
    if "random_state" in value:
        name, keys, *rest = value["random_state"]
        state = np.random.RandomState(0)
        state.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        return state
    if "estimator" in value:
        folder, name = value["estimator"]
        parameters = {key: _decode(item) for key, item in value["parameters"].items()}
        return _public_class(folder, name)(**parameters)
    raise _AbsentError(value.get("absent"))


def _public_location(cls):
    """Folder of the library and name under which a class is public; None for other classes."""
    parts = cls.__module__.split(".")
    if parts[0] != _PACKAGE or len(parts) < 2 or not issubclass(cls, BaseEstimator):
        return None
    try:
        return [parts[1], cls.__name__] if _public_class(parts[1], cls.__name__) is cls else None
    except _AbsentError:
        return None


def _public_class(folder, name):
    package = importlib.import_module(f"{_PACKAGE}.{folder}") if str(folder).isidentifier() else None
    found = getattr(package, name, None) if name in getattr(package, "__all__", ()) else None
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise _AbsentError(name)
    return found
