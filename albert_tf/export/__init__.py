"""Exported models: SavedModel and TensorFlow Lite."""
