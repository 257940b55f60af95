#!/usr/bin/env bash
# The sshd that listens, and a second one that tries new settings. Sourced by ../ssh.sh.
# shellcheck disable=SC2154  # ssh.sh sets what is not set here

effective() { # keyword
  "$sshd" -T -f "$main_file" -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null | awk -v key="$1" '$1 == key { print $2; exit }'
}

# The process that listens, or nothing.
listener() {
  local file pid
  file=$(effective pidfile)
  pid=$(cat "${file:-/run/sshd.pid}" 2>/dev/null || true)
  if [[ -n $pid && $(readlink "/proc/$pid/exe" 2>/dev/null) == *sshd* ]]; then
    printf '%s\n' "$pid"
  elif [[ -z $root ]]; then
    pgrep -f '^sshd: .*\[listener\]' | head -n 1 || true
  fi
}

answers() { # port
  local line=
  { exec 7<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
  IFS= read -r -t 5 line <&7 || true
  exec 7<&- 7>&-
  [[ $line == SSH-2.0-* ]]
}

wait_for() { # port
  local try
  for ((try = 0; try < 100; try++)); do
    if answers "$1"; then return; fi
    sleep 0.1
  done
  return 1
}

free_port() {
  local candidate
  while :; do
    candidate=$((20000 + RANDOM % 30000))
    if ! { exec 7<>"/dev/tcp/127.0.0.1/$candidate"; } 2>/dev/null; then break; fi
    exec 7<&- 7>&-
  done
  printf '%s\n' "$candidate"
}

# Starts a second sshd with the new settings on this machine's own address and logs in to it with a key made for this.
try_settings() {
  local second pid=0 ok=no
  second=$(free_port)
  ssh-keygen -q -t ed25519 -N '' -C probe -f "$work/probe"
  cp "$work/probe.pub" "$work/keys"
  "$sshd" -D -f "$main_file" -E "$work/log" -p "$second" -o ListenAddress=127.0.0.1 -o PidFile=none \
    -o "AuthorizedKeysFile=$work/keys" &
  pid=$!
  if wait_for "$second" && ssh -F /dev/null -p "$second" -i "$work/probe" -o IdentitiesOnly=yes -o IdentityAgent=none \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=20 -o LogLevel=ERROR \
    root@127.0.0.1 true </dev/null; then
    ok=yes
  fi
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  [[ $ok == yes ]]
}

# Lets the listener read its settings again; sessions that are open stay open. Starts one where none is. It has done so
# once it shows the host key in $1; where that is empty, once it still answers after a while.
reload() { # public host key
  local pid first
  first=$(effective port)
  pid=$(listener)
  mkdir -p /run/sshd
  chmod 755 /run/sshd
  if [[ -n $pid ]]; then kill -HUP "$pid"; else "$sshd" -f "$main_file"; fi
  if [[ -z $1 ]]; then
    sleep 1
    wait_for "$first"
  else
    shows_key "$first" "$1"
  fi
}

shows_key() { # port, file of the public key
  local try wanted
  wanted=$(cut -d' ' -f2 "$2")
  for ((try = 0; try < 50; try++)); do
    if ssh-keyscan -T 5 -p "$1" -t ed25519 127.0.0.1 2>/dev/null | grep -qF -- "$wanted"; then return; fi
    sleep 0.2
  done
  return 1
}
