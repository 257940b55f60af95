#!/usr/bin/env bash
# Opens a pod, or a machine of one's own, for ssh: keys alone, current algorithms, host keys that outlive the container.
# It never shuts out whoever runs it: a second listener must let a key in before the first one reads the new settings.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/ssh.sh [options]

Sets up sshd by a file of its own, sshd_config.d/10-admlops.conf: logins by key, for root and the user runpod. Keys come
from PUBLIC_KEY (SSH_PUBLIC_KEY wins over it) or --keys. Host keys are kept on the volume, so known_hosts stays right
when the pod is made anew. docs/access.md says more.

  --profile strict|compatible   strict (default): post-quantum key exchange alone, OpenSSH 8.5 and newer; compatible:
                                curve25519 too, for libraries such as paramiko and asyncssh
  --port N         listen on N; SSH_PORT, else 22
  --keys FILE      public keys, one a line, in place of PUBLIC_KEY
  --host-keys DIR  where the host keys are kept; /workspace/.admlops/ssh where /workspace is a disk of its own
  --no-user        do not make the user runpod
  --check          only say whether VS Code Remote-SSH can work here
  --undo           put every file back as it was
  --dry-run        say what would be done, and write nothing
  --root DIR       take DIR/etc for /etc, and leave accounts alone: for images and tests
  --help           this text

SSH_PASSWORD lets the user runpod, and nobody else, in by that password as well; better do without.

Example:
  PUBLIC_KEY="$(cat ~/.ssh/id_ed25519.pub)" ./install/ssh.sh --dry-run
HELP
}

root='' profile=strict port=${SSH_PORT:-22} keys_file='' host_keys_home='' action=apply dry_run=no make_user=yes
user=runpod work='' changing=no
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=ssh/settings.bash
source "$repository/install/ssh/settings.bash"
# shellcheck source-path=SCRIPTDIR source=ssh/keys.bash
source "$repository/install/ssh/keys.bash"
# shellcheck source-path=SCRIPTDIR source=ssh/listener.bash
source "$repository/install/ssh/listener.bash"
# shellcheck source-path=SCRIPTDIR source=ssh/undo.bash
source "$repository/install/ssh/undo.bash"

fail() { # message, what to type next
  printf 'ssh: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

say() { printf 'ssh: %s\n' "$1"; }

plan() { say "would $1"; }

parse() {
  while (($# > 0)); do
    case $1 in
      --profile | --port | --keys | --host-keys | --root)
        [[ $# -gt 1 && -n $2 ]] || fail "$1 needs a value" "./install/ssh.sh --help"
        take "$1" "$2"
        shift
        ;;
      --no-user) make_user=no ;;
      --check) action=check ;;
      --undo) action=undo ;;
      --dry-run) dry_run=yes ;;
      --help | -h) usage && exit 0 ;;
      *) fail "unknown option $1" "./install/ssh.sh --help" ;;
    esac
    shift
  done
  [[ $profile == strict || $profile == compatible ]] ||
    fail "--profile $profile is neither strict nor compatible" "./install/ssh.sh --profile strict"
  [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -lt 65536 ]] ||
    fail "the port $port (--port or SSH_PORT) is no number from 1 to 65535" "./install/ssh.sh --port 22"
  # Whoever came in under another name and became root must be let in again.
  users=(root "$user")
  local came_as=${SUDO_USER:-$(logname 2>/dev/null || true)}
  if [[ -n $came_as && $came_as != root && $came_as != "$user" ]]; then users+=("$came_as"); fi
  [[ -z $root || $root == /* ]] || fail "--root $root is no absolute path" "./install/ssh.sh --root \"$PWD/$root\""
  etc=$root/etc/ssh own=$etc/admlops drop_in=$etc/sshd_config.d/10-admlops.conf main_file=$etc/sshd_config
}

take() { # option, value
  case $1 in
    --profile) profile=$2 ;;
    --port) port=$2 ;;
    --keys) keys_file=$2 ;;
    --host-keys) host_keys_home=$2 ;;
    --root) root=${2%/} ;;
  esac
}

# --- what is there ----------------------------------------------------------------------------------------------------

find_sshd() {
  sshd=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd || true)
}

install_sshd() {
  command -v apt-get >/dev/null || fail "there is no sshd, and no apt-get to install it" "install the package openssh-server"
  say "installing openssh-server"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends openssh-server; } \
    >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install openssh-server; the log is $log" "check the network and /etc/apt, then run it again"
  fi
  rm -f "$log"
  find_sshd
}

# Puts a new file in the place of one that may be there, whole or not at all.
put() { # path, mode; content on standard input
  local new
  new=$(mktemp "$1.XXXXXX")
  cat >"$new"
  chmod "$2" "$new"
  mv -f "$new" "$1"
}

# --- accounts ---------------------------------------------------------------------------------------------------------

ensure_user() {
  local id=()
  if getent passwd "$user" >/dev/null; then return; fi
  if getent passwd 1000 >/dev/null; then
    say "user id 1000 belongs to $(getent passwd 1000 | cut -d: -f1): $user gets the next free one"
  else
    id=(--uid 1000)
  fi
  useradd --create-home --shell /bin/bash "${id[@]}" "$user"
  say "made the user $user, $(getent passwd "$user" | cut -d: -f3)"
}

check_password() {
  [[ $SSH_PASSWORD != *[$'\n:']* ]] || fail "SSH_PASSWORD has a line break or a colon" "choose another, or use keys alone"
  ((${#SSH_PASSWORD} >= 12)) || fail "SSH_PASSWORD is shorter than 12 signs" "export SSH_PASSWORD=\"\$(openssl rand -base64 18)\""
}

set_password() {
  remember_password
  printf '%s:%s\n' "$user" "$SSH_PASSWORD" | chpasswd
  say "WARNING: whoever guesses SSH_PASSWORD comes in as $user; keys alone are safer: unset SSH_PASSWORD"
}

# /etc/rp_environment holds the pod's variables, its API key among them, for root's shells alone.
close_environment() {
  local file=$root/etc/rp_environment
  [[ -e $file ]] || return 0
  remember "$file"
  chmod 600 "$file"
}

# --- sshd -------------------------------------------------------------------------------------------------------------

include_drop_ins() {
  if grep -qiE "^[[:space:]]*Include[[:space:]]+\"?$etc/sshd_config\.d/" "$main_file"; then return; fi
  remember "$main_file"
  { printf 'Include %s/sshd_config.d/*.conf\n' "$etc" && cat "$main_file"; } | put "$main_file" 644
}

# --- the whole --------------------------------------------------------------------------------------------------------

apply() {
  local keys password=no
  keys=$(read_keys)
  if [[ -n ${SSH_PASSWORD:-} && $make_user == yes ]]; then check_password && password=yes; fi
  choose_ports
  has_way_in "$keys" || [[ $password == yes ]] ||
    fail "nobody could come in: no public key was given, and none is there" "export PUBLIC_KEY=\"\$(cat ~/.ssh/id_ed25519.pub)\""
  choose_host_keys_home
  if [[ $dry_run == yes ]]; then
    say_plan "$keys" "$password"
    return
  fi
  [[ $(id -u) == 0 ]] || fail "only root can set up sshd" "sudo -E ./install/ssh.sh"
  [[ -n $sshd ]] || install_sshd
  ! systemctl is-active --quiet ssh.socket 2>/dev/null || fail "systemd's ssh.socket listens in sshd's place" \
    "systemctl disable --now ssh.socket && systemctl enable --now ssh.service   # keep a session open meanwhile"
  [[ -f $main_file ]] || fail "$main_file is not there" "apt-get install --reinstall openssh-server"
  mkdir -p "$own" "$etc/sshd_config.d"
  work=$(mktemp -d "$own/trial.XXXXXX")
  keep_last
  remember "$drop_in"
  changing=yes
  place_host_keys
  place_keys "$keys"
  include_drop_ins
  if [[ -z $root && $make_user == yes ]]; then
    ensure_user
    if [[ $password == yes ]]; then set_password; else restore_password "$own"; fi
  fi
  write_settings "$password" >"$work/settings"
  put "$drop_in" 644 <"$work/settings"
  change_over
  changing=no
  close_environment
  say_how_to_connect
}

# What a failed change goes back to: the files as they are now, which may be those of an earlier run.
keep_last() {
  cp -a "$main_file" "$work/main"
  if [[ -e $drop_in ]]; then cp -a "$drop_in" "$work/last"; fi
  if [[ -e $own/authorized_keys ]]; then cp -a "$own/authorized_keys" "$work/authorized_keys"; fi
}

go_back() {
  cp -a "$work/main" "$main_file"
  if [[ -e $work/last ]]; then cp -a "$work/last" "$drop_in"; else rm -f "$drop_in"; fi
  rm -rf "$own/authorized_keys"
  if [[ -e $work/authorized_keys ]]; then cp -a "$work/authorized_keys" "$own/authorized_keys"; fi
}

# Whatever ends the script between the first new file and the last check, nothing untried stays behind.
clean_up() {
  if [[ $changing == yes ]]; then go_back; fi
  [[ -z $work ]] || rm -rf "$work"
}

change_over() {
  mkdir -p /run/sshd
  if ! "$sshd" -t -f "$main_file" 2>"$work/said"; then
    go_back
    cat "$work/said" >&2
    fail "sshd does not take the settings; the old ones stay in force" "$sshd -t -f $main_file   # names file and line"
  fi
  if ! try_settings; then
    go_back
    tail -n 5 "$work/log" >&2 2>/dev/null || true
    fail "a second sshd with the new settings let no key in; the old ones stay in force" \
      "$sshd -T -f $main_file | grep -iE 'users|groups|authentication'   # another file forbids it"
  fi
  if ! reload "$own/ssh_host_ed25519_key.pub"; then
    go_back
    reload '' || true
    fail "sshd did not answer with the new settings; the old ones are back" "$sshd -t -f $main_file; tail /var/log/auth.log"
  fi
}

say_plan() { # keys, whether a password counts
  [[ -n $sshd ]] || plan "install openssh-server"
  plan "keep host keys in $host_keys_home, and copies for sshd in $own"
  plan "let in $(grep -c . <<<"$1" || true) given public keys, for ${users[*]}"
  [[ -n $root || $make_user == no ]] || getent passwd "$user" >/dev/null || plan "make the user $user"
  [[ $2 == no ]] || plan "set the password of $user from SSH_PASSWORD, which others may guess"
  plan "write $drop_in, try it with a second sshd on this machine's own address, then let the first read it:"
  write_settings "$2" | sed 's/^/    /'
}

# A pod's port is reachable only where the pod shows it; 22 stays beside another that nobody could reach.
choose_ports() {
  local mapped=RUNPOD_TCP_PORT_$port
  ports=("$port")
  [[ -n ${RUNPOD_POD_ID:-} && -z ${!mapped:-} ]] || return 0
  say "the pod shows no TCP port $port to the world: add it to the pod's exposed ports"
  if [[ $port != 22 && -n ${RUNPOD_TCP_PORT_22:-} ]]; then
    ports+=(22)
    say "sshd keeps port 22 as well, which the pod shows"
  fi
}

say_how_to_connect() {
  local host=${RUNPOD_PUBLIC_IP:-$(hostname)} last=${ports[-1]} mapped public
  mapped=RUNPOD_TCP_PORT_$last
  public=${!mapped:-$last}
  say "done ($profile); the host key is"
  ssh-keygen -lf "$own/ssh_host_ed25519_key.pub" | sed 's/^/    /'
  say "connect: ssh -p $public root@$host   # scp, -L, -D and VS Code Remote-SSH work the same way"
}

check() {
  local command=$repository/.venv/bin/admlops
  [[ -x $command ]] || fail "the checks are admlops's own, and .venv is not there" "make bootstrap"
  "$command" health remote
}

main() {
  parse "$@"
  trap clean_up EXIT
  find_sshd
  case $action in
    check) check ;;
    undo) undo ;;
    apply) apply ;;
  esac
}

main "$@"
