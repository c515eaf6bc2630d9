"""Corruptions, one a file: `NAME.py` holds one subclass of `Corruption`, chosen by `student.corruption.name`."""
