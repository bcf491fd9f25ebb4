"""Find what the library makes public; nothing is listed by hand."""

import importlib
import inspect
import pkgutil

from sklearn.base import BaseEstimator

import sklearn_shortcuts


def rooms():
    """Modules of all rooms, by name."""
    names = [info.name for info in pkgutil.iter_modules(sklearn_shortcuts.__path__) if info.ispkg]
    return {name: importlib.import_module(f"sklearn_shortcuts.{name}") for name in names}


def public_objects():
    """Every public class and function, by its dotted name."""
    return {
        f"sklearn_shortcuts.{room}.{name}": getattr(module, name)
        for room, module in rooms().items()
        for name in module.__all__
    }


def public_estimators():
    """Every public class that follows scikit-learn's contract and does something with rows."""
    return [
        cls
        for cls in public_objects().values()
        if inspect.isclass(cls)
        and issubclass(cls, BaseEstimator)
        and not inspect.isabstract(cls)
        and (hasattr(cls, "fit") or hasattr(cls, "transform"))
    ]
