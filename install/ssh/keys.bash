#!/usr/bin/env bash
# Public keys that are let in, and the machine's own. Sourced by ../ssh.sh.
# shellcheck disable=SC2154  # ssh.sh sets what is not set here

# The public keys that were given, one a line; each is looked at by ssh-keygen, which knows all kinds.
read_keys() {
  local text line size
  if [[ -n $keys_file ]]; then
    [[ -r $keys_file ]] || fail "--keys $keys_file cannot be read" "ls -l $keys_file"
    text=$(<"$keys_file")
  else
    text=${SSH_PUBLIC_KEY:-${PUBLIC_KEY:-}}
  fi
  while IFS= read -r line; do
    line=${line%$'\r'}
    [[ -n ${line//[[:space:]]/} && $line != \#* ]] || continue
    [[ $line != *"PRIVATE KEY"* ]] || fail "what was given as a public key is a private one" \
      "give the file that ends in .pub, and make a new pair: this one was shown"
    read -r size _ < <(ssh-keygen -lf /dev/stdin <<<"$line" 2>/dev/null) ||
      fail "this is no public key: ${line:0:40}…" "cat ~/.ssh/id_ed25519.pub   # the whole line is the key"
    if [[ $line == *ssh-rsa* ]] && ((size < 3072)); then
      say "a key of RSA with $size bits is left out: sshd takes 3072 and more (${line: -30})" >&2
      continue
    fi
    printf '%s\n' "$line"
  done <<<"$text"
}

# Whether somebody can come in afterwards: by a key that is there already, or by one that was given.
has_way_in() { # given keys
  [[ -z $1 ]] || return 0
  local home
  home=$(getent passwd root | cut -d: -f6)
  [[ -s $root$home/.ssh/authorized_keys || -s $own/authorized_keys/root ]]
}

choose_host_keys_home() {
  if [[ -n $host_keys_home ]]; then return; fi
  if [[ -z $root ]] && mountpoint -q /workspace 2>/dev/null; then
    host_keys_home=/workspace/.admlops/ssh
  else
    host_keys_home=$own/host_keys
  fi
}

# The host keys are made once and kept; sshd reads a copy, because a volume may not keep the mode 600 that it demands.
place_host_keys() {
  local kind file bits
  mkdir -p "$host_keys_home"
  chmod 700 "$host_keys_home" 2>/dev/null || say "$host_keys_home cannot be closed to others (chmod 700)"
  for kind in ed25519 rsa; do
    file=$host_keys_home/ssh_host_${kind}_key
    if [[ ! -s $file ]]; then
      bits=()
      [[ $kind == ed25519 ]] || bits=(-b 4096)
      rm -f "$file" "$file.pub"
      ssh-keygen -q -t "$kind" "${bits[@]}" -N '' -C admlops -f "$file"
    fi
    chmod 600 "$file" 2>/dev/null || true
    put "$own/ssh_host_${kind}_key" 600 <"$file"
    ssh-keygen -y -f "$own/ssh_host_${kind}_key" | put "$own/ssh_host_${kind}_key.pub" 644
  done
}

# sshd refuses keys below a folder that others may write, such as a home on /workspace. These lie below /etc.
place_keys() { # keys
  local name
  mkdir -p "$own/authorized_keys"
  chmod 755 "$own" "$own/authorized_keys"
  [[ -n $1 ]] || return 0
  for name in "${users[@]}"; do
    printf '%s\n' "$1" | put "$own/authorized_keys/$name" 644
  done
}
