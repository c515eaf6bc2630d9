"""What `stillroom bench` runs: each figure beside its comparison, both measured in the same run, in turns."""
