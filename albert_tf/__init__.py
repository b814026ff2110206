"""ALBERT for TensorFlow Estimators, except the scripts and the four modules that users import.

Imports point down, and text, metrics, downloads and `--help` start without TensorFlow: `make lint`
checks both, by the contracts in pyproject.toml.
"""

__version__ = "1.1.0"
