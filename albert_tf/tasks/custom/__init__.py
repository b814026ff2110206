"""Custom data: classification, regression and pairs of texts from CSV, TSV and JSON Lines.

Imported by `run_classifier.py`. The rows of large files are read again when they are needed, and
never all kept in memory.
"""
