"""SIGKILL for some nodes of a Ray cluster while it makes a cache: what it costs, and what comes of it."""

import json
import random
import re
import shutil
import sys
import time
from pathlib import Path

from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from tests import warm
from tests.faults.kills import committed, environment, project, run
from tests.ray_nodes import OPEN, RayNodes


def ray_kills(folder: Path, nodes: int = 8, killed: int = 3, seed: int = 0) -> dict:
    """Make a cache on so many nodes, a CPU each, and kill some of them at random as blocks are committed.

    Returns:
        `nodes`, `killed`, `blocks`, `tasks`; `lost`: how many tasks were done twice; `whole` and
        `digests_equal`, compared with the cache that one process makes; `seconds`; and `faults`, which must
        be none.
    """
    project(folder)
    cache, staging = folder / "artifacts/cache", folder / "artifacts/.staging"
    run(folder, "stillroom", "cache")
    expected = open_store(cache).manifest
    shutil.rmtree(cache)
    shutil.rmtree(staging)
    chance, faults, gone = random.Random(seed), [], 0
    cluster = RayNodes()
    try:
        cluster.join(nodes)
        began = time.monotonic()
        command = ("stillroom", "cache", "--engine", "ray", "--address", cluster.address)
        process = warm.start(command, folder, {**environment(), **OPEN, "OMP_NUM_THREADS": "1"})
        for number in range(killed):  # spread over the first half, so that there is something to lose
            wanted = len(expected.blocks) * (number + 1) // (2 * killed)
            while process.poll() is None and len(committed(folder)) < wanted:
                time.sleep(0.01)
            if process.poll() is None:
                cluster.lose(chance.randrange(len(cluster.nodes)))
                gone += 1
        code = process.wait()
        seconds = time.monotonic() - began
    finally:
        cluster.close()
    if code:
        faults.append(f"the run ended with {code}: {process.stderr[-400:]}")
    tasks = re.search(r"ray: (\d+) tasks on (\d+) nodes", process.stdout)
    lost = re.search(r"(\d+) lost with their nodes", process.stdout)
    whole = (cache / "manifest.json").exists() and not verify(cache)
    equal = whole and open_store(cache).manifest.blocks == expected.blocks
    found = {
        "nodes": nodes,
        "killed": gone,
        "blocks": len(expected.blocks),
        "tasks": int(tasks[1]) if tasks else 0,
        "lost": int(lost[1]) if lost else 0,
        "whole": whole,
        "digests_equal": equal,
        "seconds": round(seconds, 1),
    }
    if not equal:
        faults.append("other digests than those of one process")
    if found["lost"] > killed:
        faults.append("more was done twice than the task of each node that was killed")
    return {**found, "faults": faults}


if __name__ == "__main__":
    print(json.dumps(ray_kills(Path(sys.argv[1])), indent=2))
