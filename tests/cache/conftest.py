"""Failed assertions in the contract suite are explained like those in any test file."""

import pytest

pytest.register_assert_rewrite("tests.contract.store_contract")
