"""Figure of the strategies of a network."""

import numpy as np


class ConceptPrototypesDisplay:
    """Show prototypes as a matrix: which channels each strategy uses, and how many rows follow it.

    Make one with :meth:`from_estimator` or, from tables that were saved, with :meth:`from_tables`.

    Parameters
    ----------
    concept_matrix, coverage : DataFrame
        As ``concept_matrix_`` and ``coverage_`` of :class:`ConceptPrototypes`.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure, after :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        Panels "matrix", "share" and "separation", after :meth:`plot`.
    prototypes_ : list
        Numbers of the prototypes from the top: class by class, the most suspicious of a class first.

    See Also
    --------
    ConceptPrototypes : Finds the prototypes.
    ReferenceSamplesDisplay : Shows what the channels stand for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import ConceptPrototypes, ConceptPrototypesDisplay
    >>> relevances = np.random.default_rng(0).exponential(size=(60, 8))
    >>> relevances[:6, 3] += 20
    >>> prototypes = ConceptPrototypes(2, random_state=0).fit(relevances)
    >>> display = ConceptPrototypesDisplay.from_estimator(prototypes)
    >>> display.prototypes_ == prototypes.ranking_.tolist()
    True
    """

    def __init__(self, concept_matrix, coverage):
        self.concept_matrix = concept_matrix
        self.coverage = coverage

    @classmethod
    def from_estimator(cls, prototypes, *, ax=None):
        """Draw what was found.

        Parameters
        ----------
        prototypes : fitted ConceptPrototypes
            Estimator.
        ax : array of three matplotlib.axes.Axes, default=None
            Where to draw.

        Returns
        -------
        ConceptPrototypesDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it is not fitted.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(prototypes)
        return cls(prototypes.concept_matrix_, prototypes.coverage_).plot(ax=ax)

    @classmethod
    def from_tables(cls, concept_matrix, coverage, *, ax=None):
        """Draw tables.

        Parameters
        ----------
        concept_matrix, coverage : DataFrame
            As ``concept_matrix_`` and ``coverage_`` of :class:`ConceptPrototypes`.
        ax : array of three matplotlib.axes.Axes, default=None
            Where to draw.

        Returns
        -------
        ConceptPrototypesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the tables do not belong together.
        """
        return cls(concept_matrix, coverage).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw the matrix, the shares of rows and the separations.

        Parameters
        ----------
        ax : array of three matplotlib.axes.Axes, default=None
            Where to draw; by default in a new figure.

        Returns
        -------
        ConceptPrototypesDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the tables do not belong together, or ``ax`` does not hold three axes.
        """
        if not self.concept_matrix.index.equals(self.coverage.index):
            raise ValueError("concept_matrix and coverage have other prototypes; give the tables of one fit")
        if ax is not None and len(np.ravel(ax)) != 3:
            raise ValueError(f"ax must hold three axes, got {len(np.ravel(ax))}")
        import matplotlib.pyplot as plt

        coverage = self.coverage.sort_values(["class", "separation"], ascending=[True, False], kind="stable")
        values = self.concept_matrix.loc[coverage.index].to_numpy()
        if ax is None:
            height, width = 1.3 + 0.32 * len(coverage), 0.8 + 0.34 * values.shape[1]
            figure, ax = plt.subplots(
                1, 3, figsize=(width + 3.6, height), width_ratios=[width, 1.4, 1.4], sharey=True, layout="constrained"
            )
        else:
            ax = np.ravel(ax)
            figure = ax[0].figure
        matrix, share, separation = ax
        limit = np.abs(values).max() or 1.0
        signed = bool((values < 0).any())
        drawn = matrix.imshow(
            values, cmap="RdBu_r" if signed else "Blues", vmin=-limit if signed else 0, vmax=limit, aspect="auto"
        )
        figure.colorbar(drawn, ax=matrix, location="top", shrink=0.6, label="relevance of the prototype")
        places = np.arange(len(coverage))
        names = [f"{name}: {number}" for number, name in coverage["class"].items()]
        matrix.set_yticks(places, names)
        matrix.set_xticks(np.arange(values.shape[1]), [str(c) for c in self.concept_matrix.columns], rotation=90)
        matrix.set(xlabel="channel", ylabel="class: prototype")
        share.barh(places, coverage["share"], color="#0072B2", height=0.7)
        separation.barh(places, coverage["separation"].replace(np.inf, np.nan), color="#D55E00", height=0.7)
        share.set(xlabel="share of rows", xlim=(0, 1))
        separation.set(xlabel="separation")
        for panel in (share, separation):
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_ylim(len(coverage) - 0.5, -0.5)
        self.figure_, self.axes_ = figure, {"matrix": matrix, "share": share, "separation": separation}
        self.prototypes_ = coverage.index.tolist()
        return self
