"""Trained models by their directory, without a run."""
