"""`stillroom report --show`: the report that is there, or one message that says what to do."""

from pathlib import Path

import pytest

from stillroom.errors import DataError
from stillroom_stages.report import report
from tests.reporting import artifacts

PARAMS = Path(__file__).parents[2] / "params.yaml"


def show(folder: Path, results: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    artifacts.put(folder / "artifacts/report/results.json", results)
    report.main(["--params", str(PARAMS), "--show"], standalone_mode=False)


def test_the_report_that_is_there_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = artifacts.results(artifacts.make(tmp_path), artifacts.ENTRIES)
    show(tmp_path, results, monkeypatch)
    assert "ViT" in capsys.readouterr().out


@pytest.mark.parametrize("gone", ["arm", "bootstrap", "summary", "all"])
def test_a_report_of_another_version_is_refused_with_the_command_that_renews_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    results = artifacts.results(artifacts.make(tmp_path), artifacts.ENTRIES)
    results.pop(gone, None)
    with pytest.raises(DataError, match=r"results\.json cannot be shown") as caught:
        show(tmp_path, [] if gone == "all" else results, monkeypatch)
    assert "run `stillroom report`" in caught.value.fix
