"""The GLUE benchmark: tasks, their files, labels and metrics.

Imported by `run_classifier.py`, `convert_checkpoint.py` and `download/`.
"""
