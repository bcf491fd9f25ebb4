"""What displays of several panels have in common."""

# Okabe and Ito's colors, which are told apart with any color vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def choose_panels(panels, *, available, known, first, has_ax, needs_many):
    """Decide what a display draws.

    Parameters
    ----------
    panels : sequence of str or None
        What was asked for; by default all that there is, or the first panel where the caller gives the axes.
    available, known : sequence of str
        Panels that have something to show, and all that a display of this kind may have.
    first : str
        Panel that is drawn on given axes unless another one is asked for.
    has_ax : bool
        Whether the caller gives the axes.
    needs_many : str
        Panel that does not fit on one pair of axes.

    Returns
    -------
    list of str
        Panels.

    Raises
    ------
    ValueError
        If there is no such panel, or more are asked for than one pair of axes takes.
    """
    wanted = list(available if panels is None else panels)
    for panel in wanted:
        if panel not in available:
            what = "is not one of them" if panel not in known else "has nothing to show"
            raise ValueError(f"panels: {panel!r} {what}; there is {list(available)}")
    if has_ax:
        wanted = [first] if panels is None else wanted
        if len(wanted) != 1 or wanted == [needs_many]:
            raise ValueError(f"ax takes one panel other than {needs_many!r}, but panels={wanted} were asked for")
    return wanted
