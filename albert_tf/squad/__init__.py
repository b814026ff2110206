"""SQuAD v1.1: questions to features, the span head and its loss, scores to answers and metrics.

Imported by `run_squad_v1.py` and `ask.py`.
"""
