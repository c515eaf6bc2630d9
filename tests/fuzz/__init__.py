"""Mutated inputs, seeded, as many as one likes: nothing but a result or one message may come of them."""
