"""Preference or rating data to a reward model: objectives, data, the model, the loop and the checkpoint.

Importing this package imports nothing heavy; torch and transformers are imported by what needs them.
"""
