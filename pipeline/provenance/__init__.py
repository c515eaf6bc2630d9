"""What writer and reader of a cache must agree on: its identity, probes, and the record of its teacher."""
