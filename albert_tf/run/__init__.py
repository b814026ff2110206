"""The story of a run: its checks, training, evaluation, predictions and export."""
