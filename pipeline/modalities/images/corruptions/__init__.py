"""Corruptions of images, one a file: `NAME.py` holds one subclass of `stillroom.modalities.base.Corruption`.

Each takes a rendered view, uint8 [S, S, 3], and never changes it in place.
"""
