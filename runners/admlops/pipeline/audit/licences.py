"""The licences of locked packages, from the small table `docs/licences.json` of the checkout.

The table holds what a package's own metadata says, by index, name and version: its licence expression, else its
licence field, else its classifiers. `python -m docs.licences --collect` adds what is missing from packages that
are installed or downloaded here, so that nothing of it needs a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from admlops.core.paths import Layout
from admlops.pipeline.audit.locks import Locked

TABLE = "docs/licences.json"
UNKNOWN = "not stated"
COPYLEFT = ("AGPL", "LGPL", "GPL", "MPL", "EPL", "CDDL", "EUPL")
"""From the strongest to the weakest; a text belongs to the first that it names."""
SHORT = 60
SPDX = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mit licence": "MIT",
    "expat license": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "bsd": "BSD",
    "bsd license": "BSD",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "apache-2.0": "Apache-2.0",
    "mit licensed, as found in the license file": "MIT",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu general public license (gpl)": "GPL",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "simplified bsd": "BSD-2-Clause",
    "2-clause bsd": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "isc": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "psf": "PSF-2.0",
    "psf license": "PSF-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "gnu affero general public license v3": "AGPL-3.0",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu library or lesser general public license (lgpl)": "LGPL",
    "the unlicense (unlicense)": "Unlicense",
    "public domain": "public domain",
    "zlib/libpng license": "Zlib",
    "historical permission notice and disclaimer (hpnd)": "HPND",
}
"""What packages write in their own words, in lower case → the SPDX identifier that it means."""


def read_table(layout: Layout) -> dict[str, dict[str, dict[str, str]]]:
    """Read the table: index → name → version → licence; empty where there is none."""
    file = layout.root / TABLE
    if not file.is_file():
        return {}
    found: dict[str, dict[str, dict[str, str]]] = json.loads(file.read_text())
    return found


def licence_of(one: Locked, table: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str | None:
    """Return a package's licence; None where the table does not have this version."""
    return one.licence or table.get(one.index, {}).get(one.name, {}).get(one.version)


def likely_licence_of(one: Locked, table: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str | None:
    """Return a package's licence, or that of another version with its number, `MIT (as 2.1)`; None: of no version."""
    own = licence_of(one, table)
    others = table.get(one.index, {}).get(one.name, {})
    if own is not None or not others:
        return own
    version = max(others, key=lambda text: [int(number) for number in re.findall(r"\d+", text)])
    return f"{others[version]} (as {version})"


def missing(locked: Iterable[Locked], table: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[Locked]:
    """List the packages whose licence the table does not have."""
    return [one for one in locked if licence_of(one, table) is None]


def name_licence(*, expression: str | None, text: str | None, classifiers: Iterable[str]) -> str:
    """Name the licence that a package's metadata states, by its SPDX identifier where its words are known.

    Args:
        expression: the field License-Expression.
        text: the field License, which may be the whole text.
        classifiers: the trove classifiers; those that begin with `License ::` count.
    """
    if expression:
        return expression.strip()
    stated = (text or "").strip()
    if stated and len(stated) <= SHORT and "\n" not in stated and stated.upper() != "UNKNOWN":
        return _spdx(stated)
    named = (one.rpartition("::")[2].strip() for one in classifiers if one.startswith("License ::"))
    known = [_spdx(one) for one in named if one not in ("OSI Approved", "Other/Proprietary License")]
    if known:
        return " AND ".join(dict.fromkeys(known))
    first = next((line.strip() for line in stated.splitlines() if line.strip()), "")
    return _spdx(first)[:SHORT] if first and first.upper() != "UNKNOWN" else UNKNOWN


def _spdx(words: str) -> str:
    plain = re.sub(r"\s+", " ", words).strip(" .'\"")
    return SPDX.get(plain.lower(), plain)


def copyleft_of(licence: str) -> str:
    """Return the family of a copyleft licence, such as `LGPL`; empty for other licences."""
    upper = licence.upper().replace("GNU LESSER", "LGPL").replace("GNU AFFERO", "AGPL")
    return next((name for name in COPYLEFT if re.search(rf"(?<![A-Z]){name}", upper)), "")
