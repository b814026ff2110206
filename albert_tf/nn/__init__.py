"""What the encoder and the heads stand on: the config, activations, closed-form gradients.

Imports `devices` alone. Imported by `modeling`, `custom_layer_norm`, tasks and runs.
"""
