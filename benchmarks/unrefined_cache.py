"""What ``memory=`` saves in a search over penalties and strengths: 3 penalties x 4 strengths x 3 folds.

Run ``python -m benchmarks.unrefined_cache [--quick]``. The network without penalty is trained once per fold instead of
once per candidate and fold; refinement takes a fifth of its epochs. The first search with a memory starts with an empty
one.
"""

import argparse
import tempfile

import pandas as pd
from sklearn.model_selection import GridSearchCV

from sklearn_shortcuts.metrics import make_counterfactual_scorer
from sklearn_shortcuts.mitigation import ExplanationRegularizedClassifier

from ._decoy_digits import digits_study
from ._timing import measure

SEARCHED = {"penalty": ["counterexamples", "rrr", "rrr_grad_cam"], "lambda_": [0.01, 0.1, 1.0, "auto"]}
BAR = 0.5


def search(study, memory):
    """Search without and with a memory on the same folds and seeds.

    Parameters
    ----------
    study : ShortcutStudy
        Rows and network.
    memory : str or None
        Folder.

    Returns
    -------
    GridSearchCV
        To be fitted.
    """
    epochs = max(1, study.network.max_epochs // 5)
    model = ExplanationRegularizedClassifier(
        study.network, refine_epochs=epochs, refine_lr=study.refine_lr, memory=memory
    )
    scorer = make_counterfactual_scorer("region_swap_accuracy", random_state=0)
    return GridSearchCV(model, SEARCHED, scoring=scorer, cv=3, refit=False, error_score="raise")


def scores(fitted):
    """Everything in ``cv_results_`` but times."""
    table = pd.DataFrame(fitted.cv_results_)
    return table[[name for name in table if "time" not in name]].astype(str)


def main():
    """Time both searches, compare their results and say whether the bar is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data and few epochs: does it run?")
    quick = parser.parse_args().quick
    import torch

    torch.set_num_threads(1)
    study = digits_study(0, **({"n_train": 120, "max_epochs": 5} if quick else {"n_train": 700, "max_epochs": 30}))
    X, y = study.train, study.train.target
    without, cpu = search(study, None), []
    cpu.append(measure(lambda: without.fit(X, y))[1])
    with tempfile.TemporaryDirectory() as folder:
        kept = search(study, folder)
        cpu.append(measure(lambda: kept.fit(X, y))[1])
    same = scores(kept).equals(scores(without))
    ratio = cpu[1] / cpu[0]
    print(f"without memory {cpu[0]:.1f} s of processor time, with memory {cpu[1]:.1f} s: {ratio:.2f}")
    print(f"same cv_results_: {'yes' if same else 'NO'}")
    if not quick:
        print(f"bar of {BAR}: {'reached' if ratio <= BAR and same else 'MISSED'}")


if __name__ == "__main__":
    main()
