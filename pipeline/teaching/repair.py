"""Mends a damaged cache: what is whole is kept, only the blocks that `verify` condemns are computed again."""

from dataclasses import dataclass
from pathlib import Path

from stillroom import modalities
from stillroom.cache.format import identity as identities
from stillroom.cache.format.layout import Block
from stillroom.cache.format.outputs import refuse_imported
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.device import device, environment
from stillroom.distributed import Ranks
from stillroom.params import Cache
from stillroom.progress import Progress
from stillroom.provenance.identity import check_samples, fixes, of_teacher, read_teacher
from stillroom.provenance.probes import check_probes
from stillroom.provenance.teacher import load_teacher, with_folds
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs, divide, generate


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Attributes:
        kept: blocks that were whole.
        computed: blocks that were computed again.
        changed: those of them whose values are not what they were before the damage, bit for bit: float
            noise, where this machine is not the one that wrote them.
    """

    kept: int
    computed: list[Block]
    changed: list[Block]


def repair(
    store: Store,
    samples: Samples,
    cache: Cache,
    staging: Path,
    progress: Progress,
) -> Repair:
    """Put a whole store in the place of a damaged one.

    Args:
        store: the damaged cache; its manifest is sound.
        samples: the training samples; they must be those of the cache.
        cache: says where the teacher of each output lies; needed only for outputs that lost blocks.
        staging: the folder of staging folders.

    Raises:
        CacheError: the samples or a teacher are not those of the cache (names the field), or this machine
            renders other pictures.
    """
    manifest = store.manifest
    identity, views = manifest.identity, store.layout.views
    check_samples(manifest, samples)
    keys, labels = samples.packed_keys(), samples.labels()
    modality = modalities.get(samples.modality)
    recipe, seed = modality.policy(identity["views"]["recipe"], "manifest.json"), identity["views"]["seed"]
    stagings: list[Staging] = []
    computed: set[Block] = set()
    try:
        for name, output in identity["outputs"].items():
            single = {**identity, "outputs": {name: output}}
            specs = array_specs(single, modality)
            block_samples = store.layout.block_samples
            opened = Staging(staging, single, specs, keys, labels, block_samples, earlier=store)
            stagings.append(opened)
            todo = divide(opened, views, Ranks(), progress)
            if not todo:
                continue
            lost = f"{len(todo)} blocks are lost"
            refuse_imported(
                {name: output}, [name], lost, "import the same file again: `stillroom cache import`"
            )
            warning = check_probes(store, samples)
            if warning:
                progress.note(warning)
            folder = cache.folder_of(name) or Path()
            described = read_teacher(folder / "teacher.json")
            samples = with_folds(samples, {name: described}, recipe)
            identities.check({"outputs": {name: of_teacher(described)}}, identity, fixes([name]))
            teacher = load_teacher(folder, described, samples).to(device())
            amp = str(manifest.environment.get("amp", "none"))
            generate(teacher, samples, recipe, seed, opened, todo, cache.batch_size, amp, progress)
            computed |= set(todo)
        made = (
            {**manifest.environment, "repaired": environment(modality.environment())}
            if computed
            else manifest.environment
        )
        new = publish(stagings, store.folder, manifest.backend, views, made, manifest.probes, progress)
    finally:
        for opened in stagings:
            opened.close()
    changed = [block for block in computed if new.blocks[block] != manifest.blocks[block]]
    return Repair(len(manifest.blocks) - len(computed), sorted(computed), sorted(changed))
