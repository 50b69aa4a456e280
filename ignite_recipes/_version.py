"""The version, in a file that can be read without importing torch.

>>> tuple(int(number) for number in __version__.split(".")) >= (0, 1)
True
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
"""The version of this library: major.minor.patch."""
