"""Both kinds of data that there are here keep to the contract: images, and the tests' own vectors."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stillroom import modalities
from tests.contract.modality_contract import ModalityContract

MORE = Path(__file__).parent / "more/modalities"


class TestImages(ModalityContract):
    NAME = "images"
    TREE = {
        "data": {"name": "sketch40", "train_per_class": 2, "test_per_class": 1, "image_size": 48},
        "views": {"size": 32},
        "teacher": {
            "arch": "convnext_atto",
            "overrides": {"patch_size": 4, "depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
        },
        "student": {"families": ["vit", "swin", "mvit"], "model": {"image_size": 64}},
    }
    RECIPE = {"name": "strong", "mixup": 0.4, "cutmix": 1.0}


class TestVectors(ModalityContract):
    NAME = "vectors"
    TREE = {"data": {"name": "blobs"}, "student": {"families": ["narrow", "wide"]}}
    RECIPE = {"name": "jitter", "spread": 0.4}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def found(cls) -> Iterator[None]:
        """For these tests there is one more folder of a modality."""
        modalities.__path__.append(str(MORE))
        yield
        modalities.__path__.remove(str(MORE))
