"""Train or edit the network so that it stops using a shortcut."""

__all__: list[str] = []
