"""Functions of this room by name."""

NAMES = (
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "input_gradients",
    "integrated_gradients",
    "smooth_grad",
    "occlusion",
    "relevance",
    "shap_values",
)


def find_explainer(explainer, name="explainer"):
    """Give the function that makes maps.

    Parameters
    ----------
    explainer : str or callable
        Name of a function of :mod:`sklearn_shortcuts.explain`, or ``explainer(estimator, X, **options) -> maps``.
    name : str, default="explainer"
        What the argument is called, for the message.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    ValueError
        If there is no such function.
    """
    if callable(explainer):
        return explainer
    if explainer not in NAMES:
        raise ValueError(f"{name}={explainer!r} is not known; it is a function or one of {', '.join(NAMES)}")
    from .. import explain  # which imports those who call this

    return getattr(explain, explainer)
