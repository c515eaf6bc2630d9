"""How good a model is on a split, how well calibrated, and what it costs."""
