"""Whole params.yaml files, one an experiment: `stillroom preset NAME` prints them."""
