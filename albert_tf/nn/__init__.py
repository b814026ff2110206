"""Building blocks of encoder and heads: config, activations, closed-form gradients.

Imports only `errors` and `devices`. Imported by `modeling`, `custom_layer_norm`, tasks and runs.
"""
