"""install/ssh.sh on a machine of its own: who comes in, what is put back, and that nobody is shut out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.install.pod_of_one import SCRIPT, Pod, pod_of_one, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "none")


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all pods keep their host keys on."""
    return tmp_path_factory.mktemp("volume") / "ssh"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, volume: Path) -> Iterator[Pod]:
    """A pod whose sshd ran before, and was set up then, with a password for the user runpod."""
    with pod_of_one(tmp_path_factory.mktemp("pod"), volume) as pod:
        (pod.folder / "etc" / "rp_environment").write_text('export RUNPOD_API_KEY="x"\n')
        start_old(pod)
        said = pod.set_up(SSH_PASSWORD="correct horse battery", RUNPOD_POD_ID="x", RUNPOD_TCP_PORT_22="10022")
        assert "WARNING" in said.stdout
        assert "ssh -p 10022 root@" in said.stdout
        assert "correct horse" not in said.stdout + said.stderr
        yield pod


@pytest.fixture
def pod(tmp_path: Path, volume: Path) -> Iterator[Pod]:
    """A pod whose sshd runs as its image had it."""
    with pod_of_one(tmp_path, volume) as fresh:
        start_old(fresh)
        yield fresh


def start_old(pod: Pod) -> None:
    pod.run("mkdir", "-p", "/run/sshd", "/home/root/.ssh")
    pod.run("cp", f"{pod.key}.pub", "/home/root/.ssh/authorized_keys")
    pod.run(str(shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin")))
    assert pod.ssh("echo", "in").strip() == "in"


def test_the_key_comes_in_as_both(opened: Pod) -> None:
    assert opened.ssh("id", "-un").strip() == "root"
    assert opened.ssh("id", "-un", user="runpod").strip() == "runpod"


def test_the_keys_of_a_home_that_others_may_write_are_not_needed(opened: Pod) -> None:
    opened.run("chmod", "777", "/home/root")
    try:
        assert opened.ssh("id", "-un").strip() == "root"
    finally:
        opened.run("chmod", "700", "/home/root")


def test_a_stranger_and_a_password_are_refused(opened: Pod) -> None:
    other = opened.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert "Permission denied (publickey)" in opened.ssh("true", check=False, IdentityFile=str(other))
    asked = opened.ssh("true", check=False, PubkeyAuthentication="no", PreferredAuthentications="password")
    assert "Permission denied (publickey)" in asked
    assert "Permission denied" in opened.ssh("true", user="nobody", check=False)


def test_the_password_lets_in_runpod_alone(opened: Pod) -> None:
    asks = opened.folder / "ask"
    asks.write_text("#!/bin/sh\necho 'correct horse battery'\n")
    asks.chmod(0o755)
    options = {"PubkeyAuthentication": "no", "BatchMode": "no", "NumberOfPasswordPrompts": "1"}
    given = {"SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "x"}
    runpod = opened.run(*opened.ssh_command("runpod", 22, **options), "id", "-un", check=False, **given)
    assert runpod.stdout.strip() == "runpod", runpod.stderr
    root = opened.run(*opened.ssh_command("root", 22, **options), "id", "-un", check=False, **given)
    assert root.returncode == 255


def test_the_password_goes_with_its_variable(opened: Pod) -> None:
    """Last of those that use it: another run without SSH_PASSWORD, then the settings as they were."""
    hashed = opened.run("getent", "shadow", "runpod").stdout.split(":")[1]
    assert hashed.startswith("$")
    opened.set_up()
    assert opened.run("getent", "shadow", "runpod").stdout.split(":")[1] == "!"
    assert "Match" not in (opened.folder / "etc" / "ssh" / "sshd_config.d" / "10-admlops.conf").read_text()
    assert opened.ssh("id", "-un", user="runpod").strip() == "runpod"


def test_files_travel_both_ways(opened: Pod) -> None:
    (opened.folder / "sent").write_text("hello")
    options = opened.ssh_command("root", 22, program="scp")[:-1]
    words = ["-P" if word == "-p" else word for word in options]
    opened.run(*words, opened.folder / "sent", "root@127.0.0.1:there")
    opened.run(*words, "root@127.0.0.1:there", opened.folder / "back")
    assert (opened.folder / "back").read_text() == "hello"


def test_a_port_is_forwarded(opened: Pod) -> None:
    command = [*opened.enter(), *opened.ssh_command("root", 22)[:-1], "-N", "-L", "127.0.0.1:2200:127.0.0.1:22"]
    with subprocess.Popen([*command, "root@127.0.0.1"], env=opened.variables({})) as forwarding:
        try:
            until = time.monotonic() + 30
            while "root" not in opened.ssh("id", "-un", port=2200, check=False):
                assert time.monotonic() < until
        finally:
            forwarding.terminate()


def test_an_audit_of_the_strict_settings_finds_nothing(opened: Pod) -> None:
    audit = Path(sys.executable).with_name("ssh-audit")
    done = opened.run(audit, "--json", "--skip-rate-test", "127.0.0.1", check=False)
    found = json.loads(done.stdout)
    worse = [
        (kind, one["algorithm"], notes)
        for kind in ("kex", "key", "enc", "mac")
        for one in found[kind]
        if (notes := {level: said for level, said in one["notes"].items() if level in ("fail", "warn")})
    ]
    assert worse == []
    assert done.returncode == 0, done.stdout


def test_secrets_are_closed_and_host_keys_kept(opened: Pod) -> None:
    own = opened.folder / "etc" / "ssh" / "admlops"
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in own.glob("ssh_host_*_key")}
    assert modes == {"ssh_host_ed25519_key": "0o600", "ssh_host_rsa_key": "0o600"}
    assert oct((opened.folder / "etc" / "rp_environment").stat().st_mode & 0o777) == "0o600"
    kept = (opened.volume / "ssh_host_ed25519_key").read_text()
    assert kept == (own / "ssh_host_ed25519_key").read_text()


def test_the_user_gets_the_next_free_id(opened: Pod) -> None:
    taken = opened.run("getent", "passwd", "1000", check=False).stdout
    number = int(opened.ssh("id", "-u", user="runpod"))
    assert number == 1000 if taken.startswith("runpod:") or not taken else number > 1000


@pytest.mark.full
def test_sessions_stay_and_a_volume_keeps_the_host_key(pod: Pod) -> None:
    session = subprocess.Popen(
        [*pod.enter(), *pod.ssh_command("root", 22), "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=pod.variables({}),
    )
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write("before\n")
    session.stdin.flush()
    assert session.stdout.readline() == "before\n"
    listener = pod.listener()
    pod.set_up("--no-user")
    assert pod.listener() == listener, "the same process listens"
    session.stdin.write("after\n")
    session.stdin.close()
    assert session.stdout.read() == "after\n"
    assert session.wait(30) == 0
    first = (pod.volume / "ssh_host_ed25519_key").read_text()
    pod.run("rm", "-rf", "/etc/ssh/admlops")
    pod.set_up("--no-user")
    assert (pod.folder / "etc" / "ssh" / "admlops" / "ssh_host_ed25519_key").read_text() == first


def test_undo_puts_back_byte_for_byte(pod: Pod) -> None:
    (pod.folder / "etc" / "rp_environment").write_text("export A=1\n")
    main = pod.folder / "etc" / "ssh" / "sshd_config"
    main.write_text(main.read_text().replace("Include ", "#Include "))
    pod.run("useradd", "--create-home", "--password", "$6$kept", "runpod")
    before = pod.snapshot()
    pod.set_up(SSH_PORT="2222", SSH_PASSWORD="correct horse battery")
    assert "$6$kept" not in pod.run("getent", "shadow", "runpod").stdout
    assert pod.ssh("echo", "in", port=2222).strip() == "in"
    assert pod.snapshot() != before
    pod.run(SCRIPT, "--undo")
    assert pod.snapshot() == before
    assert "$6$kept" in pod.run("getent", "shadow", "runpod").stdout
    assert not (pod.folder / "etc" / "ssh" / "admlops").exists()
    assert pod.ssh("echo", "in").strip() == "in"
    refused = pod.run(SCRIPT, "--undo", check=False)
    assert (refused.returncode, "nothing to undo" in refused.stderr) == (2, True)


def test_a_broken_file_leaves_the_old_listener(pod: Pod) -> None:
    (pod.folder / "etc" / "ssh" / "sshd_config.d" / "90-broken.conf").write_text("Nonsense yes\n")
    before, listener = pod.snapshot(), pod.listener()
    refused = pod.set_up("--no-user", check=False)
    assert refused.returncode == 2
    assert "90-broken.conf" in refused.stderr
    assert "the old ones stay in force" in refused.stderr
    assert (pod.snapshot(), pod.listener()) == (before, listener)
    (pod.folder / "etc" / "ssh" / "sshd_config.d" / "90-broken.conf").unlink()
    assert pod.ssh("echo", "in").strip() == "in"


def test_settings_that_would_let_nobody_in_are_not_taken(pod: Pod) -> None:
    (pod.folder / "etc" / "ssh" / "sshd_config.d" / "05-others.conf").write_text("DenyUsers root\n")
    before, listener = pod.snapshot(), pod.listener()
    refused = pod.set_up("--no-user", check=False)
    assert refused.returncode == 2
    assert "let no key in; the old ones stay in force" in refused.stderr
    assert (pod.snapshot(), pod.listener()) == (before, listener)
    assert pod.ssh("echo", "in").strip() == "in", "what runs did not read the new file"


@pytest.mark.full
def test_a_failed_second_run_keeps_the_first_ones_settings_and_keys(pod: Pod) -> None:
    pod.set_up("--no-user")
    before = pod.snapshot()
    keys = pod.folder / "etc" / "ssh" / "admlops" / "authorized_keys" / "root"
    first = keys.read_text()
    others = pod.folder / "etc" / "ssh" / "sshd_config.d" / "05-others.conf"
    others.write_text("DenyUsers root\n")
    other = pod.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    refused = pod.set_up("--no-user", "--keys", f"{other}.pub", "--profile", "compatible", check=False)
    others.unlink()
    assert refused.returncode == 2
    assert pod.snapshot() == before
    assert keys.read_text() == first


@pytest.mark.full
def test_the_compatible_profile_takes_older_clients(pod: Pod) -> None:
    pod.set_up("--no-user")
    assert "no matching key exchange" in pod.ssh(
        "true", check=False, LogLevel="INFO", KexAlgorithms="curve25519-sha256"
    )
    pod.set_up("--no-user", "--profile", "compatible")
    assert pod.ssh("echo", "in", KexAlgorithms="curve25519-sha256").strip() == "in"


@pytest.mark.full
def test_whoever_uses_sudo_is_let_in_again(pod: Pod) -> None:
    pod.run("useradd", "--create-home", "--shell", "/bin/bash", "alice")
    pod.set_up("--no-user", SUDO_USER="alice")
    assert pod.ssh("id", "-un", user="alice").strip() == "alice"


@pytest.mark.full
def test_a_port_that_the_pod_does_not_show_keeps_22(pod: Pod) -> None:
    said = pod.set_up("--no-user", SSH_PORT="2222", RUNPOD_POD_ID="x", RUNPOD_TCP_PORT_22="10022")
    assert "keeps port 22 as well" in said.stdout
    assert [pod.ssh("echo", "in", port=port).strip() for port in (22, 2222)] == ["in", "in"]


@pytest.mark.full
def test_a_machine_without_listener_gets_one(tmp_path: Path, volume: Path) -> None:
    with pod_of_one(tmp_path, volume) as pod:
        pod.set_up("--no-user")
        assert pod.ssh("echo", "in").strip() == "in"
