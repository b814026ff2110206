"""RACE: reader of articles with multiple-choice questions, features, head, metrics.

Imported by `run_race.py`, `ask.py` and `download/`.
"""
