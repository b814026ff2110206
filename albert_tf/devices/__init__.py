"""Devices: CPU, GPU and HPU; bfloat16; Horovod processes and reductions."""
