"""Caches and finished models for others: checked, described by a card, and uploaded, what is new alone."""
