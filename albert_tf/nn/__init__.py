"""The ground of encoder and heads: the config, activations, closed-form gradients.

Imports `devices` alone. Imported by `modeling`, `custom_layer_norm`, tasks and runs.
"""
