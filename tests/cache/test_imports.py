"""The cache format needs no deep-learning library: a teammate reads a cache with numpy, zarr and h5py."""

import pkgutil
import subprocess
import sys

import pipeline.cache


def test_no_module_of_the_format_imports_torch() -> None:
    names = [f"pipeline.cache.{module.name}" for module in pkgutil.iter_modules(pipeline.cache.__path__)]
    assert "pipeline.cache.zarr_store" in names
    script = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
