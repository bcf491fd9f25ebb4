"""From a study to something a person reads: the demonstration and, later, the report."""

__all__: list[str] = []
