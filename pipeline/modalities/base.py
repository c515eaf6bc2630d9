"""What a kind of data must offer: two interfaces, `Modality` and `Model`, and what passes between them.

A modality is a folder beside this file, found by its name, whose package holds `MODALITY`, an instance of a
subclass of `Modality`. Nothing outside that folder knows what its samples, views or inputs are made of.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from stillroom import draw, params
from stillroom.device import autocast, moved
from stillroom.errors import ParamsError
from stillroom.modalities import named
from stillroom.params import Data, Params, Section, Seed, StudentModel
from stillroom.progress import Progress
from stillroom.samples import Sample, Samples

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

# Draws of a corruption that models are measured on are numbered from here: no epoch ever sees one of them
EVALUATION_DRAWS = 2**40
LAST = "last"  # a name of the last stage's module, which architectures call otherwise
TRIED = 3  # inputs of the pass that finds shapes: what else begins with three is hardly there
SHEET_VIEWS = 64  # drawn on a sheet; more would be none to look at
SHEET_CLASSES = 5  # likeliest classes shown for each view
# name -> (dtype, shape of one view's value)
Fields = Mapping[str, tuple[str, tuple[int, ...]]]
# What a model's input is, as JSON: for images {size, mean, std}
Spec = dict[str, Any]


@dataclass(frozen=True)
class ViewRequest:
    """All that it takes to render a view: its sample, its parameters and, where another sample is mixed in,
    that one with its own; and what makes it worse, with its parameters, where a student is to see less than
    its teacher.
    """

    sample: Sample
    parameters: Any
    partner: tuple[Sample, Any] | None = None
    worse: "tuple[Corruption, Any] | None" = None

    def samples(self) -> list[Sample]:
        """Those that are read for it."""
        return [self.sample] if self.partner is None else [self.sample, self.partner[0]]


def packed(views: Sequence[Any], fields: Iterable[str], kinds: Fields) -> dict[str, np.ndarray]:
    """Views whose attributes are the fields to arrays, a row a view.

    Args:
        fields: which ones.
        kinds: dtype and shape of each.
    """
    return {
        name: np.array([getattr(view, name) for view in views], kinds[name][0]).reshape(
            len(views), *kinds[name][1]
        )
        for name in fields
    }


def unpacked(arrays: Mapping[str, np.ndarray], row: int, kinds: Fields) -> dict[str, Any]:
    """One row of `packed`'s arrays as plain numbers and tuples of them, of the fields that are there."""
    values: dict[str, Any] = {}
    for name in kinds:
        if name in arrays:
            value = arrays[name][row].tolist()
            values[name] = tuple(value) if isinstance(value, list) else value
    return values


class Part(Protocol):
    """Some views of a plane without their samples: what a process that holds the table is sent.

    Attributes:
        tell: fields of the views' parameters that are wanted back; none where who asks knows them.
    """

    @property
    def tell(self) -> Sequence[str]:
        """See above."""
        return ()

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """The views, given the table that the plane is of."""

    def __len__(self) -> int:
        """How many."""


@dataclass(frozen=True)
class Listed:
    """Views as they are, with their samples."""

    views: Sequence[ViewRequest]
    tell: Sequence[str] = ()

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """These."""
        return list(self.views)

    def __len__(self) -> int:
        return len(self.views)


@dataclass(frozen=True)
class Worse:
    """Views that a corruption makes worse, by the draw of a number."""

    part: "Part"
    corruption: "Corruption"
    number: int
    tell: Sequence[str] = ()

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """The views, given the table that the plane is of."""
        return [self.corruption.request(one, self.number) for one in self.part.requests(samples)]

    def __len__(self) -> int:
        return len(self.part)


class Views(Protocol):
    """One view of each sample of a table."""

    @property
    def mixes(self) -> bool:
        """Whether its views may be mixed."""

    def __getitem__(self, row: int) -> ViewRequest:
        """The view of the sample in a row of the table."""

    def part(self, rows: np.ndarray) -> Part:
        """Those of some rows, in their order."""
        return Listed([self[row] for row in rows])

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these, int [B], and its shares of them, float32 [B] in [0, 1)."""


class Policy(Section):
    """A recipe of views with its numbers: `draw` is a pure function of them and of its arguments.

    Its parameters are its fields; they are checked like every key of `params.yaml`. Random numbers come from
    `stillroom.draw.uniforms`.
    """

    FIELDS: ClassVar[Fields] = {}  # all that the modality may keep of a view
    KEEPS: ClassVar[tuple[str, ...]] = ()  # those of them that this policy draws
    # Parameters that came after the first caches: left out of the identity where they have their default.
    LATER: ClassVar[tuple[str, ...]] = ()

    def draw(self, seed: int, sample: Any, view: int) -> Any:
        """Draw the parameters of a view of a sample.

        Args:
            seed: in [0, 2^63).
            sample: what it is like may be looked at, never its position.
            view: the view's number, in [0, 2^63).
        """
        raise NotImplementedError

    @property
    def mixes(self) -> bool:
        """Whether views may be mixed with those of other samples."""
        return False

    @property
    def reduces(self) -> bool:
        """Whether what is read of a sample may be less than all of it, as a view needs it."""
        return False

    def request(self, seed: int, samples: Samples, sample: Any, view: int) -> ViewRequest:
        """The view of one of the training samples, with what is mixed into it."""
        return ViewRequest(sample, self.draw(seed, sample, view))

    def mixture(self, requests: Sequence[ViewRequest]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these views, int [B], and its shares of them, float32 [B]."""
        raise NotImplementedError

    def fields(self) -> Fields:
        """What a cache keeps of its views: the part of `FIELDS` that is drawn."""
        return {name: kind for name, kind in self.FIELDS.items() if name in self.KEEPS}

    def describe(self) -> dict[str, Any]:
        """Its name and numbers, as JSON: what identities compare, and what `Modality.policy` takes."""
        fields = type(self).model_fields
        values = {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if not (name in self.LATER and value == fields[name].default)
        }
        return {"name": type(self).__module__.rpartition(".")[2], **values}


class Corruption(Section):
    """What a student sees worse than its teacher: `draw` is a pure function of its numbers and arguments.

    Its parameters are its fields; they are checked like every key of `params.yaml`. It belongs to the student
    alone: no cache knows of it, and its random numbers are on a stream of their own (`uniforms` of here).
    """

    seed: Seed = 0  # of its own draws
    # epoch: each epoch draws anew; fixed: each sample has one corrupted copy, whatever the epoch
    draw_at: Literal["epoch", "fixed"] = "epoch"
    draws: Annotated[int, Field(ge=1, le=100)] = 4  # of each test sample, whose scores are averaged

    def draw(self, seed: int, sample: Any, number: int) -> Any:
        """Draw what makes a view of a sample worse.

        Args:
            seed: in [0, 2^63).
            sample: what it is like may be looked at, never its position.
            number: the draw's: the epoch's, 0 for a fixed one, or from `EVALUATION_DRAWS` on.
        """
        raise NotImplementedError

    def apply(self, content: Any, drawn: Any) -> Any:
        """A view made worse; `content` itself where nothing is.

        Args:
            content: as the modality hands it over, which is not to be changed.
            drawn: of `draw`.
        """
        raise NotImplementedError

    def check(self, spec: Spec) -> None:
        """Refuse what cannot be done to views of a spec.

        Raises:
            ParamsError: see above.
        """

    def request(self, request: ViewRequest, number: int) -> ViewRequest:
        """A view, made worse by a draw."""
        return replace(request, worse=(self, self.draw(self.seed, request.sample, number)))

    def number(self, epoch: int) -> int:
        """Which draw an epoch looks at."""
        return epoch if self.draw_at == "epoch" else 0

    def describe(self) -> dict[str, Any]:
        """Its name and numbers, as JSON: what records keep, and what `Modality.corruption` takes."""
        return {"name": type(self).__module__.rpartition(".")[2], **self.model_dump(mode="json")}


def uniforms(seed: int, name: str, sample: Any, number: int, count: int) -> np.ndarray:
    """Random numbers of a corruption: float64 [count] in [0, 1), on a stream that no view is drawn from.

    Args:
        name: of the corruption: two of them draw apart.
    """
    return draw.uniforms(seed, f"corruption {name}\n{sample.key}", number, count)


class Reader(Protocol):
    """The content of samples, read once, checked against their digests, kept within a budget of memory."""

    def __getitem__(self, sample: Any) -> Any:
        """The content of a sample.

        Raises:
            DataError: the file is missing, unreadable, or not the one that `prepare` saw.
            AccessError: this user may not read it.
        """

    def preload(self, samples: Iterable[Any]) -> None:
        """Read what the budget still takes of these, before workers are forked."""


@dataclass(frozen=True)
class DataAccount:
    """What a data set holds, for people.

    Attributes:
        samples: what its samples are called.
        lines: (name, value) each.
        equal_files: keys of files with equal bytes in two splits or two classes, a group each.
        leaks: how many test samples have an equal file in another split.
    """

    samples: str
    lines: list[tuple[str, str]]
    equal_files: list[list[str]]
    leaks: int


@dataclass
class Loaded:
    """What a weights file gave.

    Attributes:
        source: `none`, `hub` or the file's name.
        missing: tensors of the model that the file does not hold; they stay as freshly made.
        unexpected: tensors of the file that the model does not have.
        remade: tensors whose shape differs (a head for other classes); they stay as freshly made.
    """

    source: str = "none"
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)

    def fresh(self) -> list[str]:
        """Tensors that training has to fill."""
        return [] if self.source == "none" else self.missing + self.remade


class Model(ABC):
    """A network with all that it takes to make it again and to feed it.

    Attributes:
        net: a module that takes a batch of prepared inputs and returns logits [B, C].
        arch: the name of its architecture.
        overrides: further arguments with which it was made.
        loaded: what its weights file gave.
    """

    net: "torch.nn.Module"
    arch: str
    overrides: dict[str, Any]
    loaded: Loaded

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """What its input is."""

    @abstractmethod
    def prepare(self, raw: "torch.Tensor") -> "torch.Tensor":
        """Rendered views to the network's input, on the device that holds them."""

    @abstractmethod
    def example(self, count: int) -> "torch.Tensor":
        """A batch of prepared inputs on the CPU, all zero: for counting operations, timing, exporting."""

    def config(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """What its folder's `config.json` says, for other libraries; None: there is none.

        Args:
            classes: names, in label order.
        """
        return {
            "architecture": self.arch,
            "num_classes": len(classes),
            "label_names": list(classes),
            "model_args": self.overrides,
            "input": self.spec,
        }

    def made_by(self) -> dict[str, Any]:
        """What a record keeps of it beside its name and arguments, and holds the same later on."""
        return {}

    def layers(self) -> "dict[str, tuple[torch.nn.Module, tuple[int, ...]]]":
        """What it can give beside its logits, by name: the module whose input it is, and the shape of one
        view's. And it can give what any of its modules gives, by the module's name: see `shape_of`.
        """
        return {}

    def last(self) -> str | None:
        """The module whose output is the layer `last`: the last one that still has places; None: none is."""
        return None

    def arranged(self, output: "torch.Tensor", layer: str) -> "torch.Tensor":
        """What a module gives of a batch, channels first: [B, D] or [B, D, places ...].

        Args:
            layer: what it was asked for as: `last`, or its name.
        """
        return output

    def __call__(
        self,
        inputs: "torch.Tensor",
        net: "Callable[[torch.Tensor], torch.Tensor] | None" = None,
        take: Sequence[str] = (),
    ) -> "dict[str, torch.Tensor]":
        """Outputs by name, of one forward pass of prepared inputs: `logits` [B, C], and what is taken.

        Several threads may be in it at a time.

        Args:
            net: what stands for the network: wrapped for several processes, or compiled; None: itself.
            take: names of `layers`, or of modules; `shape_of` took them.
        """
        if not take:
            return {"logits": (net or self.net)(inputs)}
        from stillroom.modalities.taps import noted

        layers = self.layers()
        inside = {name: self.net.get_submodule(self._module(name)) for name in take if name not in layers}
        tapped = [(layers[name][0], False) if name in layers else (inside[name], True) for name in take]
        with noted(tapped) as values:
            logits = (net or self.net)(inputs)
        taken = {
            name: self.arranged(one, name) if name in inside else one.reshape(len(one), *layers[name][1])
            for name, one in zip(take, values, strict=True)
        }
        return {"logits": logits, **taken}

    def _module(self, layer: str) -> str:
        """The module whose output a layer is, by its name in the network."""
        return (self.last() or layer) if layer == LAST else layer

    def run(
        self,
        raw: "torch.Tensor",
        amp: str,
        net: "Callable[[torch.Tensor], torch.Tensor] | None" = None,
        take: Sequence[str] = (),
    ) -> "dict[str, torch.Tensor]":
        """Outputs by name of a batch of rendered views, which may lie on another device.

        Args:
            amp: `none`, `bf16` or `fp16`.
            net, take: as of `__call__`.
        """
        device = next(self.net.parameters()).device
        with autocast(device, amp):
            return self(self.prepare(moved(raw, device)), net, take)

    def shape_of(self, layer: str, who: str) -> tuple[int, ...]:
        """The shape of what a layer gives of one view.

        A layer is one of `layers`; `last`, what the last stage gives; or a module by its name in the network
        (`stages.2`, `blocks.3.mlp`): its output (of several the first), channels first (`arranged`). The
        shape of a module's is found by a pass of inputs that are all zero.

        Args:
            who: what asks for it of which model, for the message.

        Raises:
            ParamsError: it has no such layer; names the nearest. Or the module does not give an array for
                each input.
        """
        layers = self.layers()
        if layer in layers:
            return layers[layer][1]
        known = self.__dict__.setdefault("_shapes", {})  # the same for copies, whose weights may be others
        if layer not in known:
            known[layer] = self._shape_of_module(layer, who)
        found: tuple[int, ...] = known[layer]
        return found

    def _shape_of_module(self, layer: str, who: str) -> tuple[int, ...]:
        import torch

        from stillroom.modalities.taps import given_by_all

        given = given_by_all(self.net, self.example(TRIED).to(next(self.net.parameters()).device))
        names = {name for name, shape in given.items() if len(shape) > 1 and shape[0] == TRIED}
        module = self._module(layer)
        if module in names:
            return tuple(self.arranged(torch.empty(given[module], device="meta"), layer).shape[1:])
        own = [*self.layers(), *([LAST] if self.last() else [])]
        why = ""
        if module in given:
            why = f"of {TRIED} inputs that module gives {list(given[module])}, not an array for each"
        elif module in dict(self.net.named_modules()):
            why = "a forward pass does not run that module by itself, or it gives no array"
        near = difflib.get_close_matches(layer, [*own, *sorted(names)], n=3, cutoff=0.5)
        inside = sorted(
            (name for name in names if name.startswith(f"{layer}.")), key=lambda one: one.count(".")
        )
        near = near or inside[-3:]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        gives = f"it gives {', '.join(own)}, and" if own else "it gives"
        raise ParamsError(
            f"{who}: {self.arch} has no features {layer!r}",
            why,
            f"{hint}{gives} what its modules give, by their names (as {next(iter(given), 'in the network')})",
        )

    def head(self) -> "torch.nn.Linear":
        """The linear layer that makes logits of what the layer `pooled` is given.

        Raises:
            ParamsError: there is none.
        """
        import torch

        layers = self.layers()
        module = layers["pooled"][0] if "pooled" in layers else None
        if not isinstance(module, torch.nn.Linear):
            raise ParamsError(
                f"teacher.train.freeze = trunk: {self.arch} ends in no linear layer on pooled features",
                fix="set teacher.train.freeze to none, or take another teacher",
            )
        return module

    def per_core(self) -> int:
        """Inputs a forward pass on one core of a CPU, so that they stay in its cache."""
        return 16


@dataclass(frozen=True)
class Finished:
    """A model that a stage wrote.

    Attributes:
        model: on the CPU, in eval mode.
        classes: names, in label order.
        amp: the precision that it was measured with, `none`, `bf16` or `fp16`.
    """

    model: Model
    classes: Sequence[str]
    amp: str


@dataclass(frozen=True)
class Start:
    """Weights that an architecture brings.

    Attributes:
        file: safetensors.
        name: of it, for records and messages.
        classes: names in its label order; None: they are not known.
    """

    file: Path
    name: str
    classes: Sequence[str] | None


@dataclass(frozen=True)
class Architecture:
    """A model that is to be made: its name, its further arguments, and what its input is.

    Attributes:
        classes: names in label order, where what is made depends on them.
        start: the weights that it starts from, unless others are given.
    """

    arch: str
    overrides: dict[str, Any]
    spec: Spec
    classes: Sequence[str] = ()
    start: Start | None = None


@contextmanager
def _at_level(what: str) -> Iterator[None]:
    """Says of which level a fault is."""
    try:
        yield
    except ParamsError as error:
        raise ParamsError(f"{what}: {error.what}", error.why, error.fix) from None


class Modality(ABC):
    """A kind of data: its samples, views, inputs, models and pictures."""

    NAME: ClassVar[str]
    SAMPLES: ClassVar[str] = "samples"  # what messages call them
    INPUTS: ClassVar[str] = "inputs"  # what messages and records call what is rendered
    VIEW: ClassVar[str] = "view"  # what messages call what another view shows
    UNIT: ClassVar[str] = "unit"  # of differences in what is rendered, as a word
    UNITS: ClassVar[str] = "units"  # and after a number
    # Mean difference of the probes, in these units, beyond which a machine renders other views
    PROBE_BOUND: ClassVar[float]
    FIELDS: ClassVar[Fields]

    # The parameters

    @abstractmethod
    def sections(self) -> dict[str, type[Section]]:
        """The sections `data`, `views`, `teacher` and `student`, with the shared keys and its own."""

    def data_section(self, data_set: str) -> type[Section]:
        """The section `data` of one of its data sets, which may have keys of its own."""
        return self.sections()["data"]

    @abstractmethod
    def check(self, params: Params, source: str) -> None:
        """Refuse names that are not there: of a policy, an architecture, a family.

        Args:
            source: where the parameters are from, for the message.

        Raises:
            ParamsError: names the nearest valid one.
        """

    # The samples

    @abstractmethod
    def data_sets(self) -> list[str]:
        """The names of its data sets."""

    @abstractmethod
    def prepare(
        self, data: Data, folder: Path, progress: Progress, memory: Path | None = None, anew: bool = False
    ) -> Samples:
        """Find, check and read a data set, and write what belongs to its table into `folder`.

        Args:
            memory: a file of this machine that may keep what was read before, and is shared with `look`; it
                may be lost.
            anew: read all files, whatever it says.

        Raises:
            ParamsError: the parameters do not fit the data set.
            DataError: files, splits or labels are missing or not what they should be.
        """

    @abstractmethod
    def sample(self, entry: dict[str, Any], classes: int) -> Sample:
        """A row of the samples table from its JSON.

        Raises:
            KeyError, TypeError, ValueError: it is not one that `prepare` writes.
        """

    def check_table(self, data: Data, samples: Samples) -> None:  # noqa: B027  # most have nothing to look at
        """Refuse a table that these parameters would not give, as far as its rows show it.

        Raises:
            ParamsError: names what differs.
        """

    def check_seen(self, samples: Samples, spec: Spec) -> None:  # noqa: B027  # most have nothing to look at
        """Refuse the spec of a teacher, or of a cache, that is of other data than a table, as far as the two
        show it.

        Raises:
            CacheError: names what differs.
        """

    def write_shards(self, samples: Samples, folder: Path, shard_bytes: int, progress: Progress) -> int:
        """Write a data set as few large files, from which `prepare` makes an equal table.

        Args:
            samples: the table; what it is of is read, and checked.
            folder: is made; it must not be there, or be empty.
            shard_bytes: how large a file becomes before the next is begun.

        Returns:
            How many of these files there are.

        Raises:
            ParamsError: this kind of data has no such files.
            DataError: a sample cannot be read, or is not the one that `prepare` saw.
        """
        raise ParamsError(
            f"{self.SAMPLES} cannot be packed", fix="they lie in few files already: artifacts/data holds them"
        )

    @abstractmethod
    def look(self, data: Data, memory: Path) -> dict[str, Any]:
        """What lies at `data.path`, in a digest: the content of `artifacts/source.json`.

        Args:
            memory: a file of this machine that may keep what was digested before; it may be lost.

        Raises:
            DataError: there is no such folder.
        """

    @abstractmethod
    def account(self, folder: Path, samples: Samples) -> DataAccount:
        """What the table in a folder holds, with what `prepare` came across on the way to it."""

    def data_inputs(self, data: Data) -> dict[str, str | None]:
        """The parameters of `data` that name files or folders to be read, by their key."""
        return {"data.path": data.path, "data.skip": data.skip, "data.groups": data.groups}

    # The views

    @abstractmethod
    def policy(self, config: dict[str, Any], source: str = "params") -> Policy:
        """The policy that `views.recipe` describes.

        Raises:
            ParamsError: there is no such policy, or it does not take these numbers; names the nearest ones.
        """

    @abstractmethod
    def policy_keys(self) -> list[str]:
        """What any of its policies takes."""

    @abstractmethod
    def evaluation(self, sample: Any) -> Any:
        """The parameters of the view that models are measured on."""

    @abstractmethod
    def describe(self, parameters: Any) -> dict[str, Any]:
        """What `store show --json` says of a view."""

    @abstractmethod
    def pack(self, parameters: Sequence[Any], fields: Iterable[str]) -> dict[str, np.ndarray]:
        """Parameters of views to arrays, a row a view, dtypes and shapes as in `FIELDS`."""

    @abstractmethod
    def unpack(self, arrays: Mapping[str, np.ndarray], row: int) -> Any:
        """One row of `pack`'s arrays as parameters; fields that are not there are neutral."""

    @abstractmethod
    def stored(self, arrays: dict[str, np.ndarray], samples: Samples) -> Views:
        """The views of a plane of a cache.

        Args:
            arrays: the plane's view parameters by field, whole: [N, ...] each.
            samples: the cache's samples, row for row.

        Raises:
            CacheError: a field is unknown or lacking, or a value cannot be of these samples.
        """

    # What a student sees worse than its teacher

    def corruption(self, config: dict[str, Any], source: str = "params") -> Corruption | None:
        """The corruption that `student.corruption` describes; None: it is empty.

        Raises:
            ParamsError: there is no such corruption, or it does not take these numbers; names the nearest.
        """
        return named.corruption(f"stillroom.modalities.{self.NAME}", config, source)

    def levels(
        self,
        config: dict[str, Any],
        levels: Mapping[str, Sequence[float]],
        source: str = "params",
        spec: Spec | None = None,
    ) -> list[Corruption]:
        """A corruption at each of the levels that `report.levels` names, one draw each; none without one,
        nor of a key that another corruption has.

        Args:
            spec: of the views that it is for; None: it is not looked at.

        Raises:
            ParamsError: a level is none of it; names `report.levels`.
        """
        made = []
        for key, values in levels.items() if config else ():
            own = type(self.corruption(config, source)).model_fields  # type: ignore[union-attr]
            if key not in own and key in self.corruption_keys():
                continue
            if key in ("name", *Corruption.model_fields):
                raise ParamsError(
                    f"{source}: report.levels.{key}: a curve is over how much is lost",
                    fix="name another key of the corruption",
                )
            for value in values:
                with _at_level(f"{source}: report.levels.{key} = {value}"):
                    one = self.corruption(config | {key: value, "draws": 1}, source)
                    assert one is not None
                    if spec is not None:
                        one.check(spec)
                    made.append(one)
        return made

    def corruption_keys(self) -> list[str]:
        """What any of its corruptions takes."""
        return named.keys(f"stillroom.modalities.{self.NAME}.corruptions", Corruption)

    # The inputs

    @abstractmethod
    def reader(self, samples: Samples, budget: int | None = None) -> Reader:
        """The content of a table's samples.

        Args:
            budget: bytes to keep; None: what the machine's memory allows.
        """

    @abstractmethod
    def kept_bytes(self, sample: Any) -> int:
        """How many bytes a reader keeps of a sample."""

    @abstractmethod
    def render(self, reader: Reader, request: ViewRequest, spec: Spec) -> np.ndarray:
        """What a model sees of a view: equal parameters give equal bytes.

        Raises:
            DataError: see `Reader`.
        """

    @abstractmethod
    def rendered(self, spec: Spec) -> tuple[str, tuple[int, ...]]:
        """dtype and shape of one rendered view."""

    @abstractmethod
    def rendering(self, spec: Spec) -> Spec:
        """The part of a spec that decides what is rendered.

        Raises:
            KeyError, TypeError, ValueError: it is not sound.
        """

    def as_file(self, rendered: np.ndarray) -> tuple[str, bytes]:
        """A rendered view as a file that other programs read, bit for bit: its suffix, and its bytes."""
        import io

        content = io.BytesIO()
        np.save(content, rendered, allow_pickle=False)
        return "npy", content.getvalue()

    @abstractmethod
    def excerpt(self, rendered: np.ndarray) -> np.ndarray:
        """A few numbers of a rendered view, to say how far another is from it."""

    @abstractmethod
    def item(self, rendered: np.ndarray, spec: Spec) -> "tuple[str, torch.Tensor]":
        """A rendered view as a model's input, under the name that other libraries give it."""

    @abstractmethod
    def from_file(self, file: Path, spec: Spec) -> np.ndarray:
        """What a model sees of a file's evaluation view.

        Raises:
            OSError, ValueError: it cannot be read.
        """

    @abstractmethod
    def suffixes(self) -> Sequence[str]:
        """Of the files that hold a sample."""

    # The models

    @abstractmethod
    def families(self) -> Sequence[str]:
        """The names of its student families."""

    @abstractmethod
    def check_family(self, family: str, source: str) -> None:
        """Refuse what is neither a family nor an architecture by its own name.

        Raises:
            ParamsError: names the nearest ones.
        """

    @abstractmethod
    def teacher(self, params: Params) -> Architecture:
        """The teacher that the parameters ask for.

        Raises:
            ParamsError: it cannot be made, or cannot take its input.
        """

    def teacher_of(self, params: Params, classes: Sequence[str]) -> Architecture:
        """The same, where the data's classes are known.

        Args:
            classes: names, in label order.

        Raises:
            ParamsError: see above.
            WeightsError: what brings its weights is not there.
        """
        return replace(self.teacher(params), classes=tuple(classes))

    def brings_weights(self, arch: str) -> bool:
        """Whether an architecture by this name comes with weights, so that `none` are needed."""
        return False

    def by_name(self, params: Params, family: str) -> tuple[Params, str]:
        """The parameters and the family with a name that a folder may have, of one that is asked for on the
        command line.
        """
        return params, family

    @abstractmethod
    def student(self, family: str, model: StudentModel, seen: Spec) -> Architecture:
        """A student of a family.

        Args:
            seen: what its teacher sees.

        Raises:
            ParamsError: there is no such family, or it cannot take its input.
        """

    @abstractmethod
    def check_students(self, params: Params, seen: Spec) -> None:
        """Refuse a matrix with families that cannot take their input; all are named.

        Raises:
            ParamsError: see above.
        """

    @abstractmethod
    def create(
        self,
        architecture: Architecture,
        classes: int,
        *,
        weights: str = "none",
        drop_path: float = 0.0,
        seed: int = 0,
    ) -> Model:
        """Make a model, its fresh weights a function of `seed`, then fill in what `weights` gives.

        Raises:
            ParamsError: there is no such architecture, or it does not take these arguments.
            WeightsError: no hub, no file, or a file of another architecture.
        """

    @abstractmethod
    def load(self, folder: Path) -> Finished:
        """The model in a folder that a stage wrote. Nothing is unpickled, and no network is asked.

        Raises:
            DataError: there is no such folder, or its JSON is missing, damaged or describes no model.
            WeightsError: the weights are missing, damaged, or not of this model.
            AccessError: this user may not read them.
        """

    @abstractmethod
    def check_spec(self, spec: Any) -> str:
        """What is wrong with a spec that a file holds, as `name = value`; empty: nothing."""

    @abstractmethod
    def shown(self, spec: Spec) -> str:
        """What a model sees, for people, as `64 pixels`; of a spec that may lack anything."""

    @abstractmethod
    def asked(self, views: params.Views) -> Spec:
        """The part of a teacher's spec that the parameters ask for."""

    @abstractmethod
    def check_asked(self, views: params.Views, specs: Sequence[Spec]) -> None:
        """Refuse teachers none of which sees what the parameters ask for.

        Raises:
            ParamsError: names both.
        """

    # The machine, and pictures

    def environment(self) -> dict[str, str]:
        """Versions of libraries that decode and render, recorded beside results."""
        return {}

    @abstractmethod
    def picture(self, rendered: np.ndarray, spec: Spec) -> bytes:
        """A rendered view as a PNG file, which may move (APNG)."""

    @abstractmethod
    def sheet(
        self,
        reader: Reader,
        requests: Sequence[ViewRequest],
        spec: Spec,
        probabilities: np.ndarray,
        classes: Sequence[str],
        title: str,
        subtitle: str,
    ) -> "Image":
        """A picture of one sample, its views as the teacher saw them, and what it made of them.

        Args:
            requests: its V views.
            probabilities: float [V, C], the teacher's.
            title, subtitle: the lines on top.
        """
