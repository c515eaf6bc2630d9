"""Mutated inputs, seeded, as many as one likes: nothing but a result or one message may come of them."""

import argparse


def command_line(about: str | None) -> argparse.ArgumentParser:
    """What each of these scripts takes: how many inputs, and which."""
    reader = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--count", type=int, default=20_000)
    reader.add_argument("--seed", type=int, default=0)
    return reader
