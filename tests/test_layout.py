"""Where the large files and the environments lie: a folder that a variable names is not made out of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Admlops

from admlops.core.errors import UsageError
from admlops.core.paths import find_layout

VARIABLES = ("ADMLOPS_REP_PATH", "ADMLOPS_ENVIRONMENTS")


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_new_folder_in_one_that_is_there_is_taken(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "new"))
    layout = find_layout()
    assert tmp_path / "new" in (layout.repository, layout.environments)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("wrong", ["/workspce", "/workspce/admlops_repository", "{tmp}/not/there"])
def test_a_mistyped_or_unmounted_place_is_named_and_not_made(
    variable: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(wrong.replace("{tmp}", str(tmp_path)))
    monkeypatch.setenv(variable, str(folder))
    with pytest.raises(UsageError, match=f"{variable} points at {folder}, which is not there") as caught:
        find_layout()
    assert f"mkdir -p {folder}" in caught.value.hint
    assert not folder.exists()


def test_no_command_says_that_a_mistyped_place_holds_nothing(admlops: Admlops) -> None:
    refused = admlops("results", "list", check=False, variables={"ADMLOPS_REP_PATH": "/workspce/admlops_repository"})
    assert refused.returncode == 2
    assert "which is not there" in refused.stderr
    assert not Path("/workspce").exists()
