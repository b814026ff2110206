"""Runs: flags, checks, training, evaluation, prediction, export, checkpoints and results.

A run knows its task only through the interface in `task.py`. Imported by scripts, and by tasks for
that interface.
"""
