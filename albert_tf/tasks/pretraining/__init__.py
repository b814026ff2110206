"""Pre-training: masked instances from text, masked-LM and sentence-order heads and losses.

Imported by `create_pretraining_data.py` and `run_pretraining.py`.
"""
