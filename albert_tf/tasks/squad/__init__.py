"""SQuAD v1.1 and v2.0: features, heads and losses, answers and metrics.

Imported by `run_squad_v1.py`, `run_squad_v2.py` and `ask.py`.
"""
