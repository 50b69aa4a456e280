"""The version, in a file that can be read without importing torch."""

__all__ = ["__version__"]

__version__ = "0.1.0"
