"""Devices: CPU, GPU and HPU; bfloat16; Horovod processes and reductions.

Imports only `errors` from the project. Any module that builds a graph may import it.
"""
