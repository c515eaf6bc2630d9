"""The cache format needs no deep-learning library: a teammate reads a cache with numpy, zarr and h5py."""

import pkgutil
import subprocess
import sys

import stillroom.cache


def test_no_module_of_the_format_imports_torch() -> None:
    modules = pkgutil.walk_packages(stillroom.cache.__path__, "stillroom.cache.")
    names = [module.name for module in modules]
    assert "stillroom.cache.stores.zarr" in names
    script = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
