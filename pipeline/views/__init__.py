"""Views of samples, one plane (a view of all of them) at a time, rendered by worker processes."""
