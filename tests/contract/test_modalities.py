"""Every kind of data keeps to the contract: images, skeletons, and the tests' own vectors."""

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
    CORRUPTIONS = {
        "occlusion": {"share": 0.3},
    }


class TestSkeletons(ModalityContract):
    NAME = "skeletons"
    TREE = {
        "data": {"name": "sketch_skeletons", "train_per_class": 3, "test_per_class": 1},
        "views": {"size": 16},
        "teacher": {"arch": "stgcn", "size": "tiny"},
        "student": {"families": ["stgcn", "shiftgcn", "ctrgcn", "spacetime"], "model": {"frames": 12}},
    }
    RECIPE = {"name": "move", "crop": [0.5, 1.0]}
    CORRUPTIONS = {
        "joint_loss": {"joints": 6},
        "joint_drop": {"p": 0.5},
        "jitter": {"size": 0.2},
        "block_loss": {"share": 0.5},
        "swap": {"p": 0.9, "share": 0.5},
        "mixture": {"of": [{"name": "joint_loss", "joints": 5}, {"name": "jitter", "size": 0.3}]},
    }


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
