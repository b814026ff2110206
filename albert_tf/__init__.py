"""ALBERT for TensorFlow Estimators: all but the scripts and the four modules that users import.

Imports point down: scripts, then tasks (`squad`, `glue`, `pretraining`), `runs`, `records`, the
root's `modeling` and `optimization`, `nn`, `devices`, and `errors` at the bottom.
"""
