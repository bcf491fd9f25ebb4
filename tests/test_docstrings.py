"""Every public object says what it is for, what it takes, what it gives, and shows it."""

import dataclasses
import inspect

import pytest
from numpydoc.validate import validate

from tests.discovery import public_objects

CHECKED = {
    "GL08",  # no docstring
    "GL03",  # double blank lines
    "GL07",  # sections in the wrong order
    "SS01",  # no summary
    "SS03",  # the summary does not end with a period
    "SS04",  # the summary is indented
    "PR01",  # a parameter is not documented
    "PR02",  # a documented parameter does not exist
    "PR03",  # parameters in another order
    "PR04",  # a parameter without a type
    "PR07",  # a parameter without a description
    "RT01",  # no Returns section
    "RT03",  # a return value without a description
    "YD01",  # no Yields section
}
NEEDS_EXAMPLE = {"EX01"}
PARAMETERS_OF_ROUTING = ("set_", "get_metadata_routing", "get_params")


def documented_objects():
    for dotted, thing in public_objects().items():
        if inspect.isclass(thing) and (dataclasses.is_dataclass(thing) or issubclass(thing, tuple)):
            yield dotted, CHECKED - {"PR01"}  # a result: made by the library, its fields stand under Attributes
        elif inspect.isclass(thing) or inspect.isfunction(thing):
            yield dotted, CHECKED | NEEDS_EXAMPLE
        if inspect.isclass(thing):
            for name, member in inspect.getmembers(thing):
                ours = getattr(member, "__module__", "") or ""
                if (
                    inspect.isroutine(member)
                    and not name.startswith(("_", *PARAMETERS_OF_ROUTING))
                    and ours.startswith("sklearn_shortcuts")
                ):
                    yield f"{dotted}.{name}", CHECKED - ({"RT01"} if name == "fit" else set())


@pytest.mark.parametrize(("dotted", "checks"), sorted(documented_objects(), key=lambda pair: pair[0]))
def test_docstring(dotted, checks):
    problems = [f"{code}: {text}" for code, text in validate(dotted)["errors"] if code in checks]
    assert not problems, "\n".join([dotted, *problems])
