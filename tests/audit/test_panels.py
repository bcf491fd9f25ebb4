"""Which panels a display draws."""

import pytest

from sklearn_shortcuts.audit._panels import choose_panels

KNOWN = {"available": ["matrix", "examples"], "known": ("matrix", "curve", "examples"), "first": "matrix"}


@pytest.mark.parametrize(
    ("panels", "has_ax", "chosen"),
    [
        (None, False, ["matrix", "examples"]),
        (("examples", "matrix"), False, ["examples", "matrix"]),
        (None, True, ["matrix"]),
        (["matrix"], True, ["matrix"]),
    ],
)
def test_panels(panels, has_ax, chosen):
    assert choose_panels(panels, has_ax=has_ax, needs_many="examples", **KNOWN) == chosen


@pytest.mark.parametrize(
    ("panels", "has_ax", "message"),
    [
        (["colors"], False, "'colors' is not one of them; there is \\['matrix', 'examples'\\]"),
        (["curve"], False, "'curve' has nothing to show"),
        (["examples"], True, "ax takes one panel other than 'examples'"),
        (["matrix", "examples"], True, "ax takes one panel"),
        ([], True, "ax takes one panel"),
    ],
)
def test_panels_that_cannot_be_drawn(panels, has_ax, message):
    with pytest.raises(ValueError, match=message):
        choose_panels(panels, has_ax=has_ax, needs_many="examples", **KNOWN)
