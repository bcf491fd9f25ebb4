"""Where does the network look?"""

__all__: list[str] = []
