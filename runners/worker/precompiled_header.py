"""Run ninja with one header of the C++ sources precompiled: `python precompiled_header.py NINJA HEADER [ARGUMENT …]`.

It stands for `ninja` in the build of an extension for torch and runs in the folder of torch's `build.ninja`. The header
is compiled by that file's own rule, so by the very flags of the objects: with any other flag gcc ignores a precompiled
header and says nothing. A small source that includes it proves that it is taken. Where the header cannot be compiled or
is not taken, ninja runs without it. CUDA sources gain nothing and are left as they are.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Dict, Optional, Tuple

BUILD_FILE = "build.ninja"
SHOWN_CHARACTERS = 2000
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(.))", re.DOTALL)


def main() -> int:
    """Return ninja's exit code."""
    ninja, header, *arguments = sys.argv[1:]
    builds = os.path.isfile(BUILD_FILE) and not any(word in ("--version", "-t", "-h") for word in arguments)
    compiled = precompile(header) if builds and os.path.isfile(header) else None
    try:
        return subprocess.call([ninja, *arguments])
    finally:
        if compiled is not None:
            os.remove(compiled)


def precompile(header: str) -> Optional[str]:
    """Compile a header by build.ninja's rule. Return the file that gcc takes in its place, None where it fails."""
    with open(BUILD_FILE, encoding="utf-8") as file:
        rule = read_rule(file.read())
    if rule is None:
        say("build.ninja has no rule for C++ sources; no header is precompiled")
        return None
    compiled = header + ".gch"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = run_rule(rule, header, compiled, folder)
        reason = made.stderr if made.returncode else find_obstacle(rule, header, folder)
    if reason is not None:
        say("{} is not precompiled: {}".format(os.path.basename(header), reason.strip()[-SHOWN_CHARACTERS:]))
        if os.path.exists(compiled):
            os.remove(compiled)
        return None
    size_mb = os.path.getsize(compiled) / 1e6
    took_s = time.monotonic() - begun
    say(
        "{} compiled in {:.0f} s, {:.0f} MB, and taken by the compiler".format(
            os.path.basename(header), took_s, size_mb
        )
    )
    say("{} of {} C++ sources begin with it".format(*count_users(header)))
    return compiled


def find_obstacle(rule: Dict[str, str], header: str, folder: str) -> Optional[str]:
    """Compile a source that includes the header; return why it did not take the precompiled one, None if it did."""
    source = os.path.join(folder, "probe.cpp")
    with open(source, "w", encoding="utf-8") as file:
        file.write('#include "{}"\n'.format(os.path.basename(header)))
    probed = run_rule(rule, source, os.path.join(folder, "probe.o"), folder, "-H -Winvalid-pch")
    taken = re.search(r"^! .*\.gch$", probed.stderr, re.MULTILINE)  # -H marks one that is taken by "!", else by "x"
    return None if probed.returncode == 0 and taken else "the compiler does not take it\n" + probed.stderr


def run_rule(
    rule: Dict[str, str], source: str, target: str, folder: str, more: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run the rule's command for one source through the shell, as ninja does; its dependencies go into `folder`."""
    paths = {"in": shlex.quote(source), "out": shlex.quote(target)}
    command = expand(rule["command"].replace("$out.d", shlex.quote(os.path.join(folder, "d"))), {**rule, **paths})
    shell = ["/bin/sh", "-c", command + " " + more]
    return subprocess.run(shell, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True)


def read_rule(text: str) -> Optional[Dict[str, str]]:
    """Return the variables of a build file, with `command` that of its rule `compile`; None where it has none."""
    text = re.sub(r"\$\n *", "", text)  # a line that goes on
    variables = dict(re.findall(r"^(\w+) *= *(.*)$", text, re.MULTILINE))
    found = re.search(r"^rule compile\n(?: +.*\n)*? +command = (.*)$", text, re.MULTILINE)
    return None if found is None else {**variables, "command": found.group(1)}


def expand(text: str, variables: Dict[str, str]) -> str:
    """Put variables in, ninja's way: `$name`, `${name}`, and `$` before a character that means itself."""

    def value(found: "re.Match[str]") -> str:
        name = found.group(1) or found.group(2)
        if name is None:
            return found.group(3)
        return expand(variables[name], variables) if name not in ("in", "out") else variables[name]

    return VARIABLE.sub(value, text)


def count_users(header: str) -> Tuple[int, int]:
    """Count the C++ sources of build.ninja that begin with the header, which alone can take it precompiled, and all."""
    with open(BUILD_FILE, encoding="utf-8") as file:
        edges = re.findall(r"^build .+?: compile (.+)$", re.sub(r"\$\n *", "", file.read()), re.MULTILINE)
    sources = [re.sub(r"\$(.)", r"\1", edge.strip()) for edge in edges]
    return sum(1 for source in sources if first_include(source) == os.path.basename(header)), len(sources)


def first_include(source: str) -> str:
    """Return the file that a source's first line but comments includes by quotes, or nothing."""
    with open(source, encoding="utf-8", errors="replace") as file:
        code = re.sub(r"//[^\n]*|/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    found = re.match(r'\s*#\s*include\s*"([^"]+)"', code)
    return found.group(1) if found else ""


def say(text: str) -> None:
    """Write one line into the log of the build."""
    sys.stdout.write("precompiled header: " + text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
