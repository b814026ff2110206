"""The run: flags, checks, train, evaluate, export, checkpoints, results.

Knows tasks by the interface in `tasks.py` alone. Imported by tasks, for that interface, and by
scripts.
"""
