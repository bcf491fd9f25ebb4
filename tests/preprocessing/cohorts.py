"""Simulated cohorts of two scanners whose patients differ in age and sex."""

import numpy as np
import pandas as pd


def simulate(seed=0, n=2000, label_odds=1.2, effect=0.0):
    """Give acquisition, label, covariates and an outcome.

    Siemens has the older patients and fewer women (standardized differences about 0.53 and 0.38); the label is more
    frequent there, and among the old. ``outcome`` is ``effect`` larger with Siemens, and rises with age and sex.
    """
    rng = np.random.default_rng(seed)
    siemens = rng.random(n) < 0.35
    age = rng.normal(55 + 7.2 * siemens, 13.5)
    sex = np.where(rng.random(n) < 0.52 - 0.185 * siemens, "F", "M")
    label = (rng.random(n) < 1 / (1 + np.exp(0.8 - label_odds * siemens - 0.02 * (age - 55)))).astype(int)
    outcome = effect * siemens + 0.05 * age + 0.6 * (sex == "F") + rng.normal(size=n)
    covariates = pd.DataFrame({"age": age, "sex": sex})
    return np.where(siemens, "Siemens", "GE"), label, covariates, outcome


def smd(values, is_first, weights):
    """Standardized difference of two weighted means, by the unweighted standard deviations."""
    first, second = (np.average(values[part], weights=weights[part]) for part in (is_first, ~is_first))
    spread = np.sqrt((values[is_first].var(ddof=1) + values[~is_first].var(ddof=1)) / 2)
    return (first - second) / spread
