"""What every modality must keep to; see `pipeline/modalities/base.py`. A subclass says which one."""

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillroom import modalities, spans
from stillroom.errors import DataError, ParamsError, StillroomError, WeightsError
from stillroom.modalities.base import Corruption, Modality, Model, Policy, ViewRequest
from stillroom.modalities.params import check
from stillroom.modalities.weights import save_weights, weights_digest
from stillroom.params import Params
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.training.results import described
from tests import tables


@dataclass(frozen=True)
class Kind:
    """A modality with what it made of a small data set.

    Attributes:
        folder: what `prepare` wrote.
        policy: a recipe that draws all that may be drawn.
    """

    modality: Modality
    params: Params
    folder: Path
    samples: Samples
    policy: Policy

    def rows(self, count: int = 6) -> list[Any]:
        """Some of the samples, evenly spread."""
        return [self.samples.rows[i * len(self.samples) // count] for i in range(count)]

    def teacher(self, seed: int = 0, weights: str = "none") -> Model:
        found = self.modality.teacher(self.params)
        model = self.modality.create(found, len(self.samples.classes), weights=weights, seed=seed)
        model.net.eval()
        return model

    def raw(self, model: Model, rows: list[Any]) -> torch.Tensor:
        """These samples' first views, as the model sees them."""
        reader = self.modality.reader(self.samples)
        views = [self.policy.request(0, self.samples, row, 0) for row in rows]
        return torch.from_numpy(np.stack([self.modality.render(reader, one, model.spec) for one in views]))


class ModalityContract:
    """Subclassed for each modality."""

    NAME: str
    TREE: dict[str, Any]  # parameters of a small data set, and of models that are made in no time
    RECIPE: dict[str, Any]
    CORRUPTIONS: dict[
        str, dict[str, Any]
    ] = {}  # of each, by its name: numbers with which it changes all views

    @pytest.fixture(scope="class")
    @classmethod
    def kind(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
        folder = tmp_path_factory.mktemp(cls.NAME)
        modality = modalities.get(cls.NAME)
        params = check(cls.TREE, "test")
        samples = modality.prepare(params.data, folder, Progress())
        yield Kind(modality, params, folder, samples, modality.policy(cls.RECIPE))

    # The samples

    def test_the_table_gives_back_its_rows(self, kind: Kind) -> None:
        assert kind.modality.NAME == self.NAME
        assert set(kind.modality.data_sets()) & {kind.samples.dataset}
        again = modalities.load_samples(kind.folder)
        assert again.rows == kind.samples.rows and again.modality == self.NAME
        assert again.digests() == kind.samples.digests() and self.NAME in again.digests()
        keys = [row.key for row in again.rows]
        assert keys == sorted(set(keys))
        assert {row.split for row in again.rows} >= {"train", "test"}

    def test_a_row_that_lacks_something_is_refused(self, kind: Kind, tmp_path: Path) -> None:
        table = tables.read(kind.folder)
        for name in table["samples"][0]:
            cut = json.loads(json.dumps(table))
            del cut["samples"][0][name]
            shutil.copy(kind.folder / tables.NAME, tmp_path)
            for row in cut["samples"]:
                row.pop(name, None)
            tables.write(tmp_path, cut)
            if name not in ("group", "span"):
                with pytest.raises(DataError):
                    modalities.load_samples(tmp_path, tmp_path).rows[0]

    def test_the_account_is_for_people(self, kind: Kind) -> None:
        account = kind.modality.account(kind.folder, kind.samples)
        assert account.samples == kind.modality.SAMPLES and account.lines
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in account.lines)
        assert "data.path" in kind.modality.data_inputs(kind.params.data)

    # The views

    def test_a_view_is_a_pure_function_of_seed_key_and_number(self, kind: Kind) -> None:
        rows = kind.rows()
        first = [kind.policy.draw(3, row, view) for view in range(4) for row in rows]
        again = [kind.policy.draw(3, row, view) for view in reversed(range(4)) for row in reversed(rows)]
        assert first == again[::-1]
        assert first != [kind.policy.draw(4, row, view) for view in range(4) for row in rows]
        assert len({repr(one) for one in first}) > len(first) // 2

    def test_a_policy_is_made_again_from_what_it_says(self, kind: Kind) -> None:
        text = json.dumps(kind.policy.describe())
        again = kind.modality.policy(json.loads(text), "manifest.json")
        assert again.describe() == kind.policy.describe()
        assert again.draw(0, kind.rows()[0], 1) == kind.policy.draw(0, kind.rows()[0], 1)
        with pytest.raises(ParamsError, match="no such policy"):
            kind.modality.policy({"name": "nonsense"})
        with pytest.raises(ParamsError, match="nonsense"):
            kind.modality.policy(self.RECIPE | {"nonsense": 1})

    def test_parameters_come_back_from_their_arrays(self, kind: Kind) -> None:
        views = [kind.policy.request(0, kind.samples, row, 1).parameters for row in kind.rows()]
        fields = kind.policy.fields()
        assert fields and fields.items() <= kind.modality.FIELDS.items()
        arrays = kind.modality.pack(views, fields)
        assert list(arrays) == list(fields)
        for name, (dtype, shape) in fields.items():
            assert arrays[name].dtype == np.dtype(dtype) and arrays[name].shape == (len(views), *shape)
        assert [kind.modality.unpack(arrays, row) for row in range(len(views))] == views
        assert all(json.loads(json.dumps(kind.modality.describe(view))) for view in views)

    def plane(self, kind: Kind) -> tuple[Samples, dict[str, np.ndarray], list[ViewRequest]]:
        train = kind.samples.in_splits("train")
        drawn = [kind.policy.request(0, train, row, 2) for row in train.rows]
        return train, kind.modality.pack([one.parameters for one in drawn], kind.policy.fields()), drawn

    def test_what_is_stored_is_what_was_drawn(self, kind: Kind) -> None:
        train, arrays, drawn = self.plane(kind)
        stored = kind.modality.stored(arrays, train)
        assert stored.mixes == kind.policy.mixes
        model, reader = kind.teacher(), kind.modality.reader(train)
        for row in range(0, len(train), 5):
            one, other = (kind.modality.render(reader, views[row], model.spec) for views in (stored, drawn))
            np.testing.assert_array_equal(one, other)

    def test_a_plane_of_other_samples_is_refused(self, kind: Kind) -> None:
        train, arrays, _ = self.plane(kind)
        name = next(iter(arrays))
        for wrong in (
            {**arrays, "nonsense": arrays[name]},
            {one: values for one, values in arrays.items() if one != name},
            {**arrays, name: arrays[name][:-1]},
        ):
            with pytest.raises(StillroomError):
                kind.modality.stored(wrong, train)

    # What a student sees worse

    def corruptions(self, kind: Kind) -> list[Corruption]:
        made = [kind.modality.corruption({"name": name, **own}) for name, own in self.CORRUPTIONS.items()]
        return [one for one in made if one is not None]

    def test_a_corruption_is_made_again_from_what_it_says(self, kind: Kind) -> None:
        assert kind.modality.corruption({}) is None
        with pytest.raises(ParamsError, match=r"student\.corruption"):
            kind.modality.corruption({"name": "nonsense"})
        for one in self.corruptions(kind):
            again = kind.modality.corruption(json.loads(json.dumps(one.describe())), "student.json")
            assert again == one and {"name", "seed", "draw_at", "draws"} <= set(one.describe())
            assert set(one.describe()) - {"name"} <= set(kind.modality.corruption_keys())
            with pytest.raises(ParamsError, match="nonsense"):
                kind.modality.corruption(one.describe() | {"nonsense": 1})

    def test_a_corruption_is_a_pure_function_of_seed_key_and_draw(self, kind: Kind) -> None:
        reader, spec = kind.modality.reader(kind.samples), kind.teacher().spec

        def seen(one: Corruption, row: Any, number: int) -> bytes:
            request = kind.policy.request(0, kind.samples, row, 0)
            return kind.modality.render(reader, one.request(request, number), spec).tobytes()

        rows = kind.rows()
        for one in self.corruptions(kind):
            first = [seen(one, row, number) for number in range(3) for row in rows]
            again = [seen(one, row, number) for number in reversed(range(3)) for row in reversed(rows)]
            assert first == again[::-1], one
            assert len(set(first)) > len(first) // 2, one
            other = one.model_copy(update={"seed": one.seed + 1})
            assert first != [seen(other, row, number) for number in range(3) for row in rows], one
            clean = [kind.policy.request(0, kind.samples, row, 0) for row in rows]
            whole = [kind.modality.render(reader, view, spec) for view in clean]
            assert all(view.tobytes() != worse for view, worse in zip(whole, first, strict=False)), one
            dtype, shape = kind.modality.rendered(spec)
            worse = kind.modality.render(reader, one.request(clean[0], 0), spec)
            assert worse.dtype == np.dtype(dtype) and worse.shape == shape and np.isfinite(worse).all()

    def test_a_fixed_corruption_has_one_draw(self, kind: Kind) -> None:
        for one in self.corruptions(kind):
            fixed = one.model_copy(update={"draw_at": "fixed"})
            assert [fixed.number(epoch) for epoch in (0, 5)] == [0, 0]
            assert [one.number(epoch) for epoch in (0, 5)] == [0, 5]

    # The inputs

    def test_equal_parameters_give_equal_bytes(self, kind: Kind) -> None:
        spec = kind.teacher().spec
        dtype, shape = kind.modality.rendered(spec)
        readers = kind.modality.reader(kind.samples), kind.modality.reader(kind.samples, budget=0)
        readers[0].preload(kind.rows())
        seen = set()
        for row in kind.rows():
            for view in range(2):
                request = kind.policy.request(0, kind.samples, row, view)
                one, other = (kind.modality.render(reader, request, spec) for reader in readers)
                assert one.dtype == np.dtype(dtype) and one.shape == shape
                np.testing.assert_array_equal(one, other)
                np.testing.assert_array_equal(
                    one, kind.modality.render(readers[0], request, kind.modality.rendering(spec))
                )
                seen.add(one.tobytes())
                excerpt = kind.modality.excerpt(one)
                assert excerpt.tobytes() == kind.modality.excerpt(other).tobytes()
                assert 0 < excerpt.nbytes <= 1024
                name, value = kind.modality.item(one, spec)
                assert name and value.is_floating_point()
        assert len(seen) > 6

    def test_a_replaced_or_missing_file_is_named(self, kind: Kind, tmp_path: Path) -> None:
        shutil.copytree(kind.samples.root, tmp_path / "copy")
        copy = Samples(**(vars(kind.samples) | {"root": tmp_path / "copy"}))
        first, second = copy.rows[:2]
        assert kind.modality.reader(copy)[first] is not None
        start, length = first.span or (0, copy.file(first).stat().st_size)
        content = bytearray(copy.file(first).read_bytes())
        content[start : start + length] = bytes(reversed(content[start : start + length]))
        copy.file(first).write_bytes(content)
        with pytest.raises(DataError) as told:
            kind.modality.reader(copy)[first]
        assert str(copy.file(first)) in str(told.value) and first.key in str(told.value)
        copy.file(second).unlink()
        spans.forget(copy.file(second))  # a process that has it open would go on
        with pytest.raises(DataError) as told:
            kind.modality.reader(copy)[second]
        assert str(copy.file(second)) in str(told.value) and second.key in str(told.value)

    def test_a_file_alone_is_seen_as_in_evaluation(self, kind: Kind, tmp_path: Path) -> None:
        spec, row = kind.teacher().spec, kind.rows()[1]
        request = ViewRequest(row, kind.modality.evaluation(row))
        inside = kind.modality.render(kind.modality.reader(kind.samples), request, spec)
        file = kind.samples.file(row)
        if row.span is not None:
            file = tmp_path / f"alone{kind.modality.suffixes()[0]}"
            file.write_bytes(kind.samples.content(row))
        assert file.suffix.lower() in kind.modality.suffixes()
        np.testing.assert_array_equal(kind.modality.from_file(file, spec), inside)

    def test_a_reader_keeps_what_it_says(self, kind: Kind) -> None:
        reader = kind.modality.reader(kind.samples)
        for row in kind.rows(3):
            assert reader[row].nbytes == kind.modality.kept_bytes(row)

    # The models

    def test_a_spec_is_json_and_checked(self, kind: Kind) -> None:
        spec = kind.teacher().spec
        assert json.loads(json.dumps(spec)) == spec
        assert kind.modality.check_spec(spec) == ""
        assert kind.modality.shown(spec) and kind.modality.shown({})
        for wrong in (None, {}, [], 7, dict.fromkeys(spec)):
            assert kind.modality.check_spec(wrong)

    def test_weights_are_a_function_of_the_seed(self, kind: Kind, tmp_path: Path) -> None:
        one = kind.teacher(1)
        assert weights_digest(one.net) == weights_digest(kind.teacher(1).net)
        assert weights_digest(one.net) != weights_digest(kind.teacher(2).net)
        save_weights(one.net, tmp_path / "model.safetensors")
        filled = kind.teacher(2, str(tmp_path / "model.safetensors"))
        assert weights_digest(filled.net) == weights_digest(one.net)
        assert not filled.loaded.fresh()

    def test_outputs_are_what_they_say(self, kind: Kind) -> None:
        for model in self.models(kind):
            rows = kind.rows(4)
            with torch.no_grad():
                prepared = model.prepare(kind.raw(model, rows))
                assert model.example(4).shape == prepared.shape and not model.example(1).any()
                outputs = model(prepared)
                assert outputs["logits"].shape == (4, len(kind.samples.classes))
                layers = model.layers()
                taken = model(prepared, take=list(layers))
                assert set(taken) == {"logits", *layers}
                assert torch.equal(taken["logits"], outputs["logits"])
                for name, (_, shape) in layers.items():
                    assert taken[name].shape == (4, *shape) == (4, *model.shape_of(name, "test"))
                    assert taken[name].std() > 0
            with pytest.raises(ParamsError, match="nonsense"):
                model.shape_of("nonsense", "test")

    def models(self, kind: Kind) -> list[Model]:
        teacher = kind.teacher()
        found = [teacher]
        for family in kind.params.student.families:
            student = kind.modality.student(family, kind.params.student.model, teacher.spec)
            model = kind.modality.create(student, len(kind.samples.classes))
            model.net.eval()
            found.append(model)
        return found

    def test_threads_take_features_each_of_its_own_pass(self, kind: Kind) -> None:
        model = kind.teacher()
        layers = list(model.layers())
        if not layers:
            pytest.skip("it gives logits alone")
        batches = [model.prepare(kind.raw(model, [row])) for row in kind.rows(8)]
        with torch.no_grad():
            alone = [model(batch, take=layers)[layers[0]] for batch in batches]
        together = threading.Barrier(4)

        def look(place: int) -> torch.Tensor:
            together.wait()
            with torch.no_grad():
                return model(batches[place], take=layers)[layers[0]]

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(look, range(8)))
        for one, other in zip(alone, found, strict=True):
            torch.testing.assert_close(one, other)

    def test_families_are_checked(self, kind: Kind) -> None:
        for family in kind.modality.families():
            kind.modality.check_family(family, "test")
        with pytest.raises(ParamsError, match="test"):
            kind.modality.check_family("nonsense_of_nobody", "test")

    def finish(self, kind: Kind, folder: Path) -> Model:
        """A folder as `stillroom teacher` writes it."""
        model = kind.teacher(5)
        folder.mkdir(exist_ok=True)
        save_weights(model.net, folder / "model.safetensors")
        record = described(model, kind.samples) | {"config": {"train": {"amp": "none"}}}
        (folder / "teacher.json").write_text(json.dumps(record))
        return model

    def test_a_finished_model_is_loaded(self, kind: Kind, tmp_path: Path) -> None:
        model = self.finish(kind, tmp_path / "teacher")
        finished = modalities.of_model(tmp_path / "teacher").load(tmp_path / "teacher")
        assert list(finished.classes) == list(kind.samples.classes) and finished.amp == "none"
        assert weights_digest(finished.model.net) == weights_digest(model.net)
        assert finished.model.spec == model.spec and not finished.model.net.training
        raw = kind.raw(model, kind.rows(2))
        with torch.no_grad():
            assert torch.equal(finished.model.run(raw, "none")["logits"], model.run(raw, "none")["logits"])

    def test_a_damaged_model_is_refused(self, kind: Kind, tmp_path: Path) -> None:
        for name in ("nothing", "record", "weights", "lost"):
            folder = tmp_path / name
            self.finish(kind, folder)
            if name == "nothing":
                shutil.rmtree(folder)
            elif name == "record":
                (folder / "teacher.json").write_text(json.dumps({"modality": self.NAME, "arch": 7}))
            elif name == "weights":
                (folder / "model.safetensors").write_bytes(b"no weights")
            else:
                (folder / "model.safetensors").unlink()
            with pytest.raises((DataError, WeightsError)):
                kind.modality.load(folder)

    # Pictures

    def test_pictures_can_be_looked_at(self, kind: Kind) -> None:
        model = kind.teacher()
        reader = kind.modality.reader(kind.samples)
        row = kind.rows()[0]
        views = [kind.policy.request(0, kind.samples, row, view) for view in range(3)]
        png = kind.modality.picture(kind.modality.render(reader, views[0], model.spec), model.spec)
        assert png.startswith(b"\x89PNG\r\n")
        classes = kind.samples.classes
        shares = np.full((3, len(classes)), 1 / len(classes))
        sheet = kind.modality.sheet(reader, views, model.spec, shares, classes, "title", "subtitle")
        assert min(sheet.size) > 8 and len(set(sheet.convert("L").tobytes())) > 1
