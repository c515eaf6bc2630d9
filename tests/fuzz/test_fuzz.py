"""Some hundred of the mutated inputs; `python -m tests.fuzz.images` and its siblings try any number."""

import pytest

from tests.fuzz import images, tables


def test_mutated_images_give_pixels_or_a_reason() -> None:
    faults, read = images.run(600, seed=7)
    assert faults == [] and 50 < read < 600


@pytest.mark.slow
def test_mutated_tables_are_read_or_refused() -> None:
    assert tables.run(500, seed=7) == []
