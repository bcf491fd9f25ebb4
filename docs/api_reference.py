"""The public surface as data: one section per room, in reading order.

``conf.py`` writes the API pages from it and ``tests/test_public_api.py`` compares it with what the rooms export.
"""

ROOMS = {
    "sklearn_shortcuts.images": ("Rows of images", "The container of a study, lazy readers, DICOM and masks."),
    "sklearn_shortcuts.datasets": ("Studies", "Generated studies with planted shortcuts, and loaders of public sets."),
    "sklearn_shortcuts.preprocessing": ("Preprocessing", "Transformers on rows of images."),
    "sklearn_shortcuts.metrics": ("Metrics", "Scores with their uncertainty."),
    "sklearn_shortcuts.neural": ("Networks", "Neural classifiers that follow scikit-learn's contract."),
    "sklearn_shortcuts.explain": ("Explanations", "Where does the network look?"),
    "sklearn_shortcuts.latent": ("Latent space", "What do the layers hold? Activations and concept vectors."),
    "sklearn_shortcuts.audit": ("Audits", "Is there a shortcut, where, and in which rows?"),
    "sklearn_shortcuts.review": ("Review", "What do people say about these rows?"),
    "sklearn_shortcuts.mitigation": ("Mitigation", "Train the network so that it stops using a shortcut."),
}
