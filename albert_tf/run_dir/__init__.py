"""Output directories: checkpoints, results, and the files of a model."""
