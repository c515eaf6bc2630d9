"""Policies of vectors, one a file."""
