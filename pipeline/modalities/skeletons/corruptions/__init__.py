"""Corruptions of clips, one a file: `NAME.py` holds one subclass of `Corruption`, which is found by its name."""
