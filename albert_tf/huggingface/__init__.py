"""Conversion of models to and from Hugging Face's transformers.

Imported by `convert_checkpoint.py`.
"""
