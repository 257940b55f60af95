#!/usr/bin/env bash
# What sshd is told, in words that this machine's OpenSSH knows. Sourced by ../ssh.sh.
# shellcheck disable=SC2154  # ssh.sh sets what is not set here

# The version as a number, 902 for 9.2.
version() {
  local text
  text=$(ssh -V 2>&1)
  [[ $text =~ OpenSSH_([0-9]+)\.([0-9]+) ]] || fail "ssh does not say its version: $text" "apt-get install openssh-client"
  printf '%d\n' $((BASH_REMATCH[1] * 100 + BASH_REMATCH[2]))
}

# Of the names given, those that this machine's ssh knows, with commas between.
known() { # kind, name...
  local kind=$1 there name
  local -a kept=()
  shift
  there=$(ssh -Q "$kind" 2>/dev/null || ssh -Q key)
  for name in "$@"; do
    if grep -qxF -- "$name" <<<"$there"; then kept+=("$name"); fi
  done
  local IFS=,
  printf '%s\n' "${kept[*]}"
}

# shellcheck disable=SC2046  # names have no spaces
write_settings() { # whether a password counts
  local number kex
  local -a exchanges=(mlkem768x25519-sha256 sntrup761x25519-sha512 sntrup761x25519-sha512@openssh.com)
  [[ $profile == strict ]] || exchanges+=(curve25519-sha256 curve25519-sha256@libssh.org)
  number=$(version)
  kex=$(known kex "${exchanges[@]}")
  [[ -n $kex ]] || fail "this OpenSSH ($number) knows no post-quantum key exchange" "./install/ssh.sh --profile compatible"
  printf '# Written by install/ssh.sh (%s); --undo removes it. Of every keyword the first value wins.\n' "$profile"
  printf '%s\n' \
    "${ports[@]/#/Port }" \
    "HostKey $own/ssh_host_ed25519_key" \
    "HostKey $own/ssh_host_rsa_key" \
    "KexAlgorithms $kex" \
    "Ciphers $(known cipher aes256-gcm@openssh.com aes128-gcm@openssh.com aes256-ctr aes192-ctr aes128-ctr)" \
    "MACs $(known mac hmac-sha2-512-etm@openssh.com hmac-sha2-256-etm@openssh.com umac-128-etm@openssh.com)" \
    "HostKeyAlgorithms $(known key-sig ssh-ed25519 rsa-sha2-512 rsa-sha2-256)" \
    "$( ((number >= 805)) && echo PubkeyAcceptedAlgorithms || echo PubkeyAcceptedKeyTypes) $(known key-sig \
      ssh-ed25519 sk-ssh-ed25519@openssh.com rsa-sha2-512 rsa-sha2-256)" \
    "AuthorizedKeysFile .ssh/authorized_keys $own/authorized_keys/%u" \
    'UsePAM yes' 'StrictModes yes' 'PermitRootLogin prohibit-password' 'PubkeyAuthentication yes' \
    'PasswordAuthentication no' 'KbdInteractiveAuthentication no' 'AuthenticationMethods publickey' \
    "AllowUsers ${users[*]}" 'MaxAuthTries 3' 'MaxStartups 10:30:60' 'LoginGraceTime 20' 'ClientAliveInterval 60' \
    'X11Forwarding no' 'AllowAgentForwarding no' 'AllowTcpForwarding local' 'PermitTunnel no'
  ((number < 805)) || printf 'PerSourceMaxStartups 5\n'
  ((number < 901)) || printf 'RequiredRSASize 3072\n'
  if [[ $1 == yes ]]; then
    printf '%s\n' "Match User $user" '  PasswordAuthentication yes' '  AuthenticationMethods publickey password'
  fi
}
