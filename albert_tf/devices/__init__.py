"""Devices: CPU, GPU and HPU, bfloat16, and the processes of Horovod.

Imports nothing of the project but `errors`. Everything that builds a graph may import it.
"""
