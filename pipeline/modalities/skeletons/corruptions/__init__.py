"""Corruptions of clips, one a file: `NAME.py` holds one subclass of `Corruption` and gives it its name."""
