"""Which samples a command means: splits, scenes, tokens, limits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admlops.core.errors import AdmlopsError, DataError, UsageError
from admlops.curation.sample_tables import SampleTables
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.pipeline.selection import Selection, read_tokens, select


def test_a_split_gives_whole_scenes_in_order(synthetic_data: NuScenes) -> None:
    scenes = select(synthetic_data, Selection(split="mini_val"))
    assert [scene.name for scene in scenes] == ["scene-0103", "scene-0916"]
    for scene in scenes:
        times = [synthetic_data.sample(token)["timestamp_us"] for token in scene.samples]
        assert times == sorted(times)
        assert len(times) == 4


def test_named_scenes_keep_their_order(synthetic_data: NuScenes) -> None:
    scenes = select(synthetic_data, Selection(scenes=("scene-0916", "scene-0103")))
    assert [scene.name for scene in scenes] == ["scene-0916", "scene-0103"]


def test_tokens_come_back_in_scene_order_whatever_order_they_are_kept_in(
    synthetic_data: NuScenes, tmp_path: Path
) -> None:
    ordered = [token for scene in synthetic_data.scenes() for token in scene.samples]
    file = tmp_path / "tokens.txt"
    file.write_text("# two scenes\n" + "\n".join(reversed(ordered[1:7])) + "\n\n")
    chosen = [token for scene in select(synthetic_data, Selection(tokens=file)) for token in scene.samples]
    assert chosen == ordered[1:7]


def test_a_folder_of_token_files_is_read_by_name_and_by_content(tmp_path: Path) -> None:
    named, inside = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
    (tmp_path / f"{named}.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "batch.txt").write_text(f"{inside}\n{named}\n")
    assert read_tokens(tmp_path) == [named, inside] or read_tokens(tmp_path) == [inside, named]


@pytest.mark.parametrize("limit", [1, 4, 5, 100])
def test_limit_takes_the_first_samples(synthetic_data: NuScenes, limit: int) -> None:
    everything = [token for scene in select(synthetic_data, Selection()) for token in scene.samples]
    limited = [token for scene in select(synthetic_data, Selection(limit=limit)) for token in scene.samples]
    assert limited == everything[:limit]


def test_only_a_whole_split_carries_its_name() -> None:
    assert Selection().split_name == "mini_val"
    assert Selection(limit=3).split_name is None
    assert Selection(scenes=("scene-0103",)).split_name is None


def test_a_condition_takes_whole_scenes_with_such_samples(synthetic_data: NuScenes) -> None:
    by_speed = {token: number for number, token in enumerate(choose_speeds(synthetic_data))}
    slowest = min(by_speed, key=by_speed.__getitem__)
    scene = synthetic_data.sample(slowest)["scene"]
    selection = Selection(where=f"sample = '{slowest}'")
    chosen = select(synthetic_data, selection, temporal=True)
    assert [(one.name, len(one.samples)) for one in chosen] == [(scene, 4)], "a temporal model sees the whole scene"
    assert selection.split_name is None
    both = select(synthetic_data, Selection(where="speed >= 0 and tag != 'night'"))
    assert len(both) == 2
    assert len(select(synthetic_data, Selection(where="speed >= 0", limit=1))) == 1
    with pytest.raises(UsageError, match="holds for none of the 8 samples"):
        select(synthetic_data, Selection(where="speed > 900"))


def choose_speeds(data: NuScenes) -> list[str]:
    """The tokens by rising speed, as the condition sees it."""
    tables = SampleTables(data)
    tables.read(["pose"])
    return [row[0] for row in tables.ask("SELECT sample FROM samples ORDER BY speed")]


def test_a_wrong_condition_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'sped'"):
        _ = Selection(where="sped < 5").chosen_by
    with pytest.raises(UsageError, match="--rules defines tags for --where"):
        Selection(rules=tmp_path / "rules.toml")


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(split="nonsense"), "nonsense"),
        (Selection(split="mini_train"), "mini_train"),
        (Selection(scenes=("scene-9999",)), "scene-9999"),
    ],
)
def test_what_is_not_there_is_named(synthetic_data: NuScenes, selection: Selection, words: str) -> None:
    with pytest.raises(DataError, match=words):
        select(synthetic_data, selection)


def test_an_unknown_token_is_named_with_its_file(synthetic_data: NuScenes, tmp_path: Path) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text("f" * 32 + "\n")
    with pytest.raises(DataError, match=r"tokens\.txt"):
        select(synthetic_data, Selection(tokens=file))


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Selection(scenes=("scene-0103",), tokens=tmp_path)
    with pytest.raises(UsageError, match="--limit 0"):
        Selection(limit=0)


@given(content=st.binary(max_size=300))
def test_any_file_gives_tokens_or_a_clear_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    file.write_bytes(content)
    try:
        tokens, message = read_tokens(file), str(file)
    except AdmlopsError as error:
        tokens, message = ["-"], error.message
    assert tokens
    assert str(file) in message


@pytest.mark.parametrize(
    "words", ["printf 'abcd\\n#no\\nefgh' | $PYTHON -c \"$0\" -", '$PYTHON -c "$0" <(printf "abcd\\nefgh")']
)
def test_tokens_come_from_a_pipe_too(words: str) -> None:
    """Each model of a comparison reads `--tokens -` or `--tokens <(…)`, which can be read only once."""
    code = (
        "import sys; from pathlib import Path; from admlops.pipeline.selection import read_tokens;"
        "source = Path(sys.argv[1]); assert read_tokens(source) == read_tokens(source); print(*read_tokens(source))"
    )
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", words, code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "abcd efgh", done.stderr
