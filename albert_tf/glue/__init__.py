"""The tasks of the GLUE benchmark: rows to features, the classifier head, metrics.

Imported by `run_classifier.py`, `convert_checkpoint.py` and `download/`.
"""
