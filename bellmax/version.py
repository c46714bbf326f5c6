"""Plain Python. The version of this package, which a run's folder records."""

__version__ = "0.1.0"
