"""What every command shares: where artifacts lie, how params are read, how progress and errors are shown."""

import codecs
import errno
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom import stopping
from stillroom.errors import AccessError, StillroomError
from stillroom.progress import Progress

if TYPE_CHECKING:
    from stillroom.cache.read.store import Store
    from stillroom.params import Params
    from stillroom.samples import Samples

ARTIFACTS = Path("artifacts")
DATA = ARTIFACTS / "data"
TEACHER = ARTIFACTS / "teacher"
CACHE = ARTIFACTS / "cache"
STUDENTS = ARTIFACTS / "students"
REPORT = ARTIFACTS / "report"
# What stages write into each, as relative paths: all else is somebody's own, and stays
_SKETCHES = r"sketch40/(JPEGImages/\w+\.jpg|ImageSplits/\w+\.txt|XMLAnnotations/\w+\.xml)"
_DATA_FILES = re.compile(rf"(samples|report)\.json|{_SKETCHES}")
_MODEL_FILES = re.compile(
    r"(model|predictions)\.safetensors|(teacher|student|metrics)\.json|plots/confusion\.csv|plots/metrics/\w+\.tsv"
)
_REPORT_FILES = re.compile(r"results\.(json|md)|index\.html|metrics\.json|plots/\w+\.csv")
# No DVC output: DVC deletes outputs before it runs a stage, and committed blocks must outlive that.
STAGING = ARTIFACTS / ".staging"

PLAIN_EVERY = 30.0  # seconds between progress lines where the output is no terminal


def about(example: str, dvc: str = "") -> str:
    """The end of a command's help: a line to copy, and which DVC stage runs it."""
    return f"\b\nExample:    {example}\nDVC stage:  {dvc or 'none, a tool'}"


def some_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What `--set` may begin with, for the shell's completion."""
    from stillroom.modalities.params import keys

    return [f"{key}=" for key in keys() if key.startswith(incomplete)]


def some_families(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The families, for the shell's completion."""
    from stillroom import modalities

    known = [name for one in modalities.names() for name in modalities.get(one).families()]
    return [name for name in known if name.startswith(incomplete)]


def some_arms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The losses, for the shell's completion."""
    from stillroom import losses

    return [name for name in losses.names() if name.startswith(incomplete)]


def some_presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The presets, for the shell's completion."""
    from importlib import resources

    files = (file.name for file in resources.files("stillroom.presets").iterdir())
    names = sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))
    return [name for name in names if name.startswith(incomplete)]


def stage(command: Callable) -> Callable:
    """Give a command `--params` and `--set`, and pass it the checked parameters as `params`."""

    @click.option(
        "--params",
        "params_file",
        type=click.Path(path_type=Path),
        default=Path("params.yaml"),
        show_default=True,
        help="Parameters file.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        shell_complete=some_keys,
        help="Override one parameter.",
    )
    @wraps(command)
    def wrapped(params_file: Path, overrides: tuple[str, ...], **arguments: Any) -> Any:
        from stillroom.modalities.params import load_params

        params = load_params(params_file, overrides)
        check_choices(params, f"--set {' '.join(overrides)}" if overrides else str(params_file))
        check_inputs(params)
        return command(params=params, **arguments)

    return wrapped


# Asked of timm only where they are not these: its import takes seconds
USUAL_OPTIMISERS = ("adam", "adamw", "lamb", "lion", "muon", "sgd")


def check_choices(params: "Params", source: str) -> None:
    """Refuse a policy, loss, family, teacher or optimiser that is not there, and a teacher of random weights.

    Raises:
        ParamsError: names the nearest valid one.
    """
    from stillroom import losses, modalities
    from stillroom.errors import ParamsError

    modalities.of_data_set(params.data.name).check(params, source)
    student = params.student
    own = student.losses.model_extra or {}
    for name, key in [(arm, "student.arms") for arm in student.arms] + [
        (name, f"student.losses.{name}") for name in own
    ]:
        losses.check(name, f"{source}: {key}")
    opts = {"teacher.train.opt": params.teacher.train.opt, "student.train.opt": student.train.opt}
    opts |= {f"student.family_train.{name}.opt": student.train_of(name).opt for name in student.family_train}
    for key, opt in opts.items():
        if opt not in USUAL_OPTIMISERS:
            from stillroom.training.optimizer import check_optimiser

            check_optimiser(opt, f"{source}: {key}")
    if params.teacher.train.epochs == 0 and params.teacher.weights == "none":
        raise ParamsError(
            f"{source}: teacher.train.epochs = 0 with teacher.weights = 'none'",
            "the teacher would keep its random weights, and students would learn from noise",
            "set teacher.train.epochs to 1 or more, or teacher.weights to hub or a .safetensors file",
        )


def check_inputs(params: "Params") -> None:
    """Refuse images or weights in a folder that a stage replaces: it would delete what it is to read.

    Raises:
        ParamsError: names the parameter, the folder and what to do.
    """
    from stillroom import modalities
    from stillroom.errors import ParamsError
    from stillroom.files import replaced

    model = params.student.model
    weights = {"teacher.weights": params.teacher.weights, "student.model.weights": model.weights}
    weights |= {f"student.model.family_weights.{name}": file for name, file in model.family_weights.items()}
    inputs = {name: file for name, file in weights.items() if file not in ("hub", "none")}
    modality = modalities.of_data_set(params.data.name)
    read = modality.data_inputs(params.data)
    inputs |= {name: path for name, path in read.items() if path is not None}
    for name, path in inputs.items():
        folder = replaced(Path(os.path.expanduser(path)), (DATA, TEACHER, CACHE, STUDENTS, REPORT, STAGING))
        if folder is None:
            continue
        if name == "data.path":
            real = os.path.relpath(os.path.realpath(path))
            fix = f"move the {modality.SAMPLES} out of it (mv {real} {modality.SAMPLES}), and set {name} to "
            fix += "where they are"
        elif name in read:
            fix = f"move the file out of it, and set {name} to where it is"
        else:
            fix = f"copy the file out of it (cp {path} start.safetensors), and set {name} to the copy"
            if not Path(path).exists():  # DVC removes a stage's outputs before it runs the command
                fix += f"; what a stage wrote there, `dvc checkout {path}` brings back"
        why = "stages replace what is in that folder: nothing in it may be an input"
        raise ParamsError(f"{name} = {path!r} lies in {folder}", why, fix)


def check_family(params: "Params", family: str, source: str) -> None:
    """Refuse what is neither a family nor a model by its own name.

    Raises:
        ParamsError: names the nearest ones.
    """
    from stillroom import modalities

    modalities.of_data_set(params.data.name).check_family(family, source)


class Console(Progress):
    """A rich bar with rate and time left on a terminal; elsewhere a plain line every so often."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._what, self._unit, self._total, self._done, self._status = "", "", 0, 0, ""
        self._began = self._said = 0.0

    def start(self, what: str, total: int, unit: str) -> None:
        self.finish()
        self._what, self._unit, self._total, self._done, self._status = what, unit, total, 0, ""
        self._began = self._said = time.monotonic()
        if sys.stdout.isatty():
            from rich import progress as bars

            self._bar = bars.Progress(
                bars.TextColumn("{task.description}"),
                bars.BarColumn(bar_width=24),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[rate]}"),
                bars.TimeRemainingColumn(),
                bars.TextColumn("[dim]{task.fields[status]}"),
            )
            self._task = self._bar.add_task(what, total=total, rate="", status="")
            self._bar.start()

    def advance(self, count: int = 1, status: str = "") -> None:
        self._done += count
        self._status = status or self._status
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, advance=count, rate=self._rate(now), status=self._status)
        elif now - self._said >= PLAIN_EVERY and self._done < self._total:
            self._said = now
            left = (now - self._began) / max(1, self._done) * (self._total - self._done)
            line = f"{self._what}: {self._amount()}, {self._rate(now)}, {left:.0f} s left {self._status}"
            self.note(line.rstrip())

    def finish(self) -> None:
        if not self._what:
            return
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        else:
            now = time.monotonic()
            self.note(f"{self._what}: {self._amount()} in {now - self._began:.1f} s ({self._rate(now)})")
        self._what = ""

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def _amount(self) -> str:
        if self._unit == "bytes":
            return f"{self._done / 2**20:.1f} of {self._total / 2**20:.1f} MiB"
        return f"{self._done} of {self._total} {self._unit}"

    def _rate(self, now: float) -> str:
        rate = self._done / max(1e-9, now - self._began)
        return f"{rate / 2**20:.1f} MiB/s" if self._unit == "bytes" else f"{rate:.3g} {self._unit}/s"


@contextmanager
def shown() -> Iterator[Console]:
    """A console whose bar is taken down however the work ends."""
    console = Console()
    try:
        yield console
    except BaseException:
        if console._bar is not None:
            console._bar.stop()
        raise
    console.finish()


def tell_locks() -> None:
    """Say so where the environment has switched locks off."""
    from stillroom.cache.format.lock import SWITCH, locks_off

    if locks_off():
        click.echo(f"locks are off ({SWITCH}=off): run one command at a time in this project", err=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that takes `target`'s place when the block ends well, and is removed otherwise.

    It lies in the staging folder, so that not even a kill leaves anything half-written among DVC's outputs;
    what a kill left there is cleared away by the next run. What lies in `target` and no stage wrote stays.

    Raises:
        StillroomError: the place cannot be written to, or another process is at it; said before the work
            begins.
    """
    from stillroom.cache.format.lock import Lock
    from stillroom.files import carry, others

    tell_locks()
    ours = {DATA: _DATA_FILES, REPORT: _REPORT_FILES}.get(target, _MODEL_FILES)
    with ExitStack() as stack:
        try:
            STAGING.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            _check_place(target)
            list(others(target, ours))  # what cannot be seen could not be kept
            with stopping.blocked():  # or a signal between the lines would leave something behind
                lock = Lock(STAGING / f"{target.name}.lock", str(target))
                stack.callback(lock.release)
                for left in STAGING.glob(f"{target.name}.{8 * '?'}"):
                    if os.path.lexists(left / "old") and not os.path.lexists(target):
                        (left / "old").rename(target)  # killed between the two renames
                    shutil.rmtree(left, ignore_errors=True)
                temporary = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=STAGING))
                stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        except OSError as error:
            raise StillroomError(
                f"{target} cannot be written",
                error.strerror or str(error),
                "make the folder writable, or free the disk",
            ) from None
        made, old = temporary / "new", temporary / "old"
        try:
            made.mkdir()
            yield made
            with stopping.blocked():  # or a signal between the two would cost the old one
                if target.exists() or target.is_symlink():
                    target.rename(old)
                    carry(old, made, ours)
                made.rename(target)
        except OSError as error:
            if isinstance(error, PermissionError) and not str(error.filename).startswith(str(temporary)):
                raise  # of something that the work reads
            raise StillroomError(
                f"{target} cannot be written",
                str(error),
                "free the disk or mend the folder, then run it again",
            ) from None
        finally:
            if os.path.lexists(old) and not os.path.lexists(target):
                old.rename(target)


def _check_place(target: Path) -> None:
    """Look at once whether a folder can take `target`'s place.

    Raises:
        OSError: says why not.
    """
    if target.exists() and not target.is_dir():
        raise FileExistsError(errno.EEXIST, f"{target} is a file; move it away")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write in {target.parent}")
    if target.parent.stat().st_dev != STAGING.stat().st_dev:
        raise OSError(
            errno.EXDEV, f"{target.parent} and {STAGING} lie on two disks: link {ARTIFACTS} as a whole"
        )
    if target.is_symlink():
        where = os.readlink(target)
        click.echo(f"{target} was a link to {where}: it becomes a folder, and {where} stays", err=True)


@contextmanager
def epoch_log(folder: Path, name: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that logs an epoch's record with DVCLive: `plots/metrics/<what>.tsv` in `folder` in the end.

    Until then they grow in `artifacts/.staging/live/<name>`, where `dvc plots show` can see them: a stage's
    outputs must not be there before they are whole.

    Raises:
        StillroomError: the project is a git repository without a commit.
    """
    from dvclive import Live
    from scmrepo.exceptions import SCMError

    growing = STAGING / "live" / name
    shutil.rmtree(growing, ignore_errors=True)  # of a run that was killed
    try:
        opened = Live(str(growing), save_dvc_exp=False, dvcyaml=None, report=None)
    except SCMError as error:
        raise StillroomError(
            "the training log cannot be opened",
            f"DVCLive asks git which commit this is ({error})",
            "make a first commit: git commit --allow-empty -m start",
        ) from None
    with opened as live:

        def log(record: dict[str, Any]) -> None:
            for name in ("loss", "val_accuracy"):
                if name in record:
                    live.log_metric(name, record[name])
            live.next_step()

        yield log
    if (growing / "plots").exists():
        shutil.copytree(growing / "plots", folder / "plots", dirs_exist_ok=True)
    shutil.rmtree(growing, ignore_errors=True)


def chosen_model(folder: Path | None) -> Path:
    """The folder of a finished model: the one that was named, else the only student that there is.

    Raises:
        ParamsError: none was named, and there is none or more than one.
    """
    from stillroom.errors import ParamsError

    if folder is not None:
        return folder
    there = sorted(file.parent for file in STUDENTS.glob("*/student.json"))
    if len(there) == 1:
        return there[0]
    raise ParamsError(
        "which student?",
        f"there are {len(there)} in {STUDENTS}"
        + (f": {', '.join(one.name for one in there)}" if there else ""),
        f"name one: --student {there[0]}"
        if there
        else "train one: `stillroom student --family vit --arm kd`",
    )


def cache_to_read(params: "Params") -> "Store":
    """The cache that `cache.path` names.

    Raises:
        CacheError: it is not there, not sound, or cannot be reached.
    """
    from stillroom.cache.read.backends import open_store
    from stillroom.errors import CacheError

    path = params.cache.path
    try:
        return open_store(path)
    except CacheError as error:
        if error.what.endswith("is not there"):
            error.why = f"cache.path is {path}"
        raise


def samples_to_read(params: "Params") -> "Samples":
    """The samples table, which is of the data set that the parameters name.

    Raises:
        DataError: it is missing or damaged.
        ParamsError: it is of another data set.
    """
    from stillroom import modalities
    from stillroom.errors import ParamsError

    samples = modalities.load_samples(DATA, data_root(params))
    if samples.dataset != params.data.name:
        raise ParamsError(
            f"data.name = {params.data.name!r}, and {DATA} holds {samples.dataset!r}",
            "`stillroom prepare` was run with other parameters",
            f"run `stillroom prepare`, or set data.name to {samples.dataset}",
        )
    return samples


def data_root(params: "Params") -> Path | None:
    """Where this machine's files lie, if the parameters say."""
    return Path(params.data.path) if params.data.path else None


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """A letter that an encoding lacks as an escape, and the dots of a shortened name as one."""
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] == "…":
        return ".", error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error("spelled", _spelled)


class Output(io.TextIOWrapper):
    """Standard output that no work fails by: where its reader has gone (`| head -1`) the rest is dropped, and
    a letter that the terminal's encoding lacks is written as an escape.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            return self._drop(len(text))

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._drop(0)

    def _drop(self, count: int) -> int:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is buffered still, and whatever comes, goes there
        os.close(nowhere)
        return count


def sturdy(stream: Any) -> Any:
    """`sys.stdout` as an `Output`; what is no file (a test's, a notebook's) as it is."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    lines, encoding = stream.line_buffering, stream.encoding
    return Output(stream.detach(), encoding=encoding, errors="spelled", line_buffering=lines)


class Group(click.Group):
    """A group whose commands end with one message and the documented exit code, not with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        stopping.listen()
        sys.stdout = sturdy(sys.stdout)
        try:
            return super().invoke(ctx)
        except StillroomError as error:
            stopping.over()
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except PermissionError as error:
            stopping.over()
            click.echo(f"error: {AccessError(error.filename or 'a file')}", err=True)
            ctx.exit(AccessError.exit_code)
        except click.exceptions.Exit:  # the command has said what there is to say
            raise
        except BaseException as error:
            # where a signal comes in the middle of an import, say, its exception may turn into another one
            if not isinstance(error, KeyboardInterrupt) and not stopping.asked():
                raise
            stopping.over()
            if os.environ.get("RANK", "0") == "0":  # the first process speaks for all
                click.echo("stopped; finished work is kept: the same command goes on from there", err=True)
            ctx.exit(1)
