"""What this machine has, what of it will be a problem, and what to do: nothing here ends in a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.benchmarks.doctor.findings import Findings
from stillroom.benchmarks.doctor.hardware import look_at_folder, look_at_machine, look_at_shared_memory
from stillroom.benchmarks.doctor.software import (
    look_at_extras,
    look_at_images,
    look_at_project,
    look_at_torch,
    look_at_variables,
    look_at_versions,
)

if TYPE_CHECKING:
    from stillroom.params import Params


def examine(artifacts: Path, read_params: Callable[[], "Params"], params_file: Path) -> Findings:
    """Look at everything.

    Args:
        artifacts: where stages write; it need not be there.
        read_params: reads and checks the parameters.
        params_file: their file; it need not be there.
    """
    findings = Findings()
    look_at_versions(findings)
    look_at_torch(findings)
    look_at_images(findings)
    look_at_extras(findings)
    look_at_project(findings, read_params, params_file)
    look_at_machine(findings)
    look_at_shared_memory(findings)
    look_at_folder(findings, artifacts)
    look_at_variables(findings)
    return findings
