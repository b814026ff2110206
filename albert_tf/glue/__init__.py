"""The GLUE benchmark: tasks and their files, features, classifier head, metrics.

Imported by `run_classifier.py`, `convert_checkpoint.py` and `download/`.
"""
