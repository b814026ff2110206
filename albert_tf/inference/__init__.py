"""Trained models by their folder, without a run."""
