"""The doctor's findings for people."""

from typing import Any

from stillroom.benchmarks.doctor.findings import Findings, readable_size


def lines(findings: Findings) -> list[tuple[str, str]]:
    """The facts as a reader wants them: a name and a text, a line each."""
    facts = findings.facts
    versions = dict(facts["versions"])
    head = ", ".join(f"{name} {versions.pop(name, 'unknown')}" for name in ("stillroom", "python"))
    texts = [
        ("versions", f"{head}, {versions.pop('system')}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("images", ", ".join(f"{name} {version or 'no'}" for name, version in facts["codecs"].items())),
        ("extras", ", ".join(_extra(name, there) for name, there in facts["extras"].items())),
        ("device", _device(facts["device"])),
        ("cores", _cores(facts["cores"])),
    ]
    if "memory" in facts:
        size = facts["memory"]
        limit = "no limit" if size["limit"] is None else f"limited to {readable_size(size['limit'])}"
        images = readable_size(size["images"])
        texts.append(
            ("memory", f"{readable_size(size['machine'])}, {limit}; up to {images} for decoded images")
        )
    if facts["shm"]:
        size, free = (readable_size(facts["shm"][name]) for name in ("size", "free"))
        texts.append(("/dev/shm", f"{size}, {free} free (views need none)"))
    disk = facts["artifacts"]
    free = "unknown" if disk["free"] is None else readable_size(disk["free"])
    locks = {True: "locks work", "off": "locks are off", False: "no locks", None: "locks not tried"}
    able = "files can be renamed" if disk["rename"] else "files cannot be renamed"
    links = f"{' and '.join(disk['links']) or 'no'} links"
    texts.append(("artifacts", f"{free} free in {disk['path']}; {locks[disk['locks']]}, {able}, {links}"))
    project = facts["project"]
    texts.append(
        (
            "project",
            f"{'git' if project['git'] else 'no git'}, {'DVC' if project['dvc'] else 'no DVC'}, "
            f"params.yaml {project['params']}",
        )
    )
    variables = ", ".join(f"{name}={value}" for name, value in facts["variables"].items())
    return [*texts, ("variables", variables or "none that count")]


def _extra(name: str, there: bool) -> str:
    return f"{name} installed" if there else f"{name} missing (pip install 'stillroom[{name}]')"


def _device(device: dict[str, Any]) -> str:
    if not device["gpus"]:
        return "Apple's GPU (mps)" if device["mps"] else "the CPU; no GPU that torch sees"
    names = ", ".join(f"{gpu['name']} ({readable_size(gpu['memory'])})" for gpu in device["gpus"])
    return f"{names}, bf16 {'supported' if device['bf16'] else 'not supported'}, CUDA {device['cuda']}"


def _cores(facts: dict[str, Any]) -> str:
    quota = "no quota" if facts["quota"] is None else f"quota of {facts['quota']:g}"
    return (
        f"{facts['machine']} of the machine, {facts['bound']} bound, {quota}: {facts['used']} used; "
        f"{facts['workers']} workers, {facts['threads']} threads of torch"
    )
