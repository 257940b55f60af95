"""The stand-in for flash-attn: offered where it is missing; with `full`, the same attention as the definition's."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from admlops.catalog import load_model
from admlops.core.errors import AdmlopsError
from admlops.core.paths import find_layout
from admlops.environments import find_model
from worker.mmlab.v1 import flash_attention

LAYOUT = find_layout()
TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def clean_imports() -> Iterator[None]:
    modules, paths = dict(sys.modules), list(sys.path)
    yield
    sys.modules.clear()
    sys.modules.update(modules)
    sys.path[:] = paths


def test_the_sources_find_what_they_import() -> None:
    assert flash_attention.install()
    interface = importlib.import_module("flash_attn.flash_attn_interface")
    padding = importlib.import_module("flash_attn.bert_padding")
    assert interface.flash_attn_unpadded_kvpacked_func is flash_attention.flash_attn_unpadded_kvpacked_func
    assert {"unpad_input", "pad_input", "index_first_axis"} <= set(vars(padding))
    assert not flash_attention.install(), "once is enough"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash_attn.layers")


def test_the_package_itself_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text("KIND = 'compiled'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not flash_attention.install()
    assert importlib.import_module("flash_attn").KIND == "compiled"


@pytest.mark.full
@pytest.mark.parametrize("variant", ["modern", "classic"])
def test_it_is_softmax_attention(variant: str) -> None:
    """torch's own kernel in the modern environment, the formula in the classic one."""
    try:
        found = find_model(LAYOUT, load_model(LAYOUT, "StreamPETR"), variant)
    except AdmlopsError as error:
        pytest.skip(str(error))
    if found is None:
        pytest.skip(f"StreamPETR's {variant} environment is not built: admlops env install StreamPETR")
    code = Path(__file__).parent / "flash_attention_check.py"
    done = subprocess.run([found.python, code], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    print(differences)
    assert len(differences) == 7
    assert max(differences.values()) <= TOLERANCE
