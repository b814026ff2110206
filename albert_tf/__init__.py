"""ALBERT for TensorFlow Estimators, except the scripts and the four modules that users import.

Imports point down: scripts, then tasks (`squad`, `glue`, `race`, `own_data`, `pretraining`),
`classification`, which some tasks share, `runs`, `records`, the top-level `modeling` and
`optimization`, `nn`, `devices`, and `errors` at the bottom.
"""

__version__ = "1.0.0"
