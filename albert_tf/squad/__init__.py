"""SQuAD v1.1: features, span head and loss, answers and metrics.

Imported by `run_squad_v1.py` and `ask.py`.
"""
