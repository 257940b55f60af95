"""What of an installation stays a link to uv's cache: compiled libraries, and nothing that a person edits."""

from __future__ import annotations

import os
from pathlib import Path

from admlops.environments.install.own_copies import find_linked, give_own_copies
from admlops.environments.reuse.libraries import SMALLEST_BYTES, Libraries


def install_links(cache: Path, prefix: Path) -> None:
    """A library, a small one, a module and a script, all of them links to a cache."""
    for name, size in (("lib/big.so.12", SMALLEST_BYTES), ("lib/small.so", 10), ("lib/module.py", 100), ("bin/run", 5)):
        kept = cache / Path(name).name
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(os.urandom(size))
        kept.chmod(0o755)
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(kept, prefix / name)


def test_only_libraries_stay_links_to_the_cache(tmp_path: Path) -> None:
    cache, prefix = tmp_path / "cache", tmp_path / "prefix"
    install_links(cache, prefix)
    os.link(prefix / "bin" / "run", prefix / "bin" / "run-too")
    status = (prefix / "bin" / "run").stat()
    give_own_copies(prefix, except_for={(status.st_dev, status.st_ino)})
    assert {one.path for one in find_linked(prefix)} == {"lib/big.so.12", "bin/run", "bin/run-too"}
    module = prefix / "lib" / "module.py"
    assert module.read_bytes() == (cache / "module.py").read_bytes()
    assert module.stat().st_mode == (cache / "module.py").stat().st_mode
    module.write_text("edited")
    assert (cache / "module.py").read_bytes() != b"edited"
    assert (prefix / "lib" / "big.so.12").samefile(cache / "big.so.12")
    assert list(find_linked(tmp_path / "none")) == []


def test_a_library_that_only_the_cache_has_beside_is_unused_and_frees_nothing(tmp_path: Path) -> None:
    cache, prefix = tmp_path / "cache", tmp_path / "prefix"
    install_links(cache, prefix)
    libraries = Libraries(tmp_path / ".libraries")
    libraries.take(str(prefix / "lib" / "big.so.12"), "a" * 64, 0o755)
    (name,) = (path.name for path in libraries.folder.iterdir())
    (prefix / "lib" / "big.so.12").unlink()
    assert libraries.unused() == {}, "nobody said what environments have"
    assert libraries.unused(used={name}) == {}
    assert libraries.unused({name}, used=()) == {}, "a pack wants it"
    assert libraries.prune(used=()) == 0
    assert list(libraries.folder.iterdir()) == []
    assert (cache / "big.so.12").exists()
