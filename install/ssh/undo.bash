#!/usr/bin/env bash
# Files as they were before. Sourced by ../ssh.sh.
# shellcheck disable=SC2154  # ssh.sh sets what is not set here

# Keeps a file as it was before this script first touched it.
remember() { # path
  local undo=$own/undo name
  mkdir -p "$undo"
  chmod 700 "$undo"
  name=${1//\//%}
  [[ ! -e $undo/$name && ! -e $undo/$name.absent ]] || return 0
  if [[ -e $1 ]]; then cp -a "$1" "$undo/$name"; else : >"$undo/$name.absent"; fi
}

# Puts back what was kept.
restore() {
  local kept path
  for kept in "$own"/undo/*; do
    [[ -e $kept && $kept != */password ]] || continue
    path=$(basename "${kept%.absent}")
    path=${path//%//}
    if [[ $kept == *.absent ]]; then rm -f "$path"; else cp -a "$kept" "$path"; fi
  done
}

# Keeps the hash of the user's password as it was before SSH_PASSWORD first took its place.
remember_password() {
  local file=$own/undo/password
  [[ ! -e $file ]] || return 0
  mkdir -p "$own/undo"
  chmod 700 "$own/undo"
  (umask 077 && getent shadow "$user" | cut -d: -f2 >"$file")
}

restore_password() { # our folder, or a copy of it
  local file=$1/undo/password
  [[ -e $file ]] || return 0
  usermod --password "$(<"$file")" "$user"
  rm -f "$file"
}

undo() {
  [[ -d $own/undo ]] || fail "there is nothing to undo: $own is not there" "./install/ssh.sh --dry-run"
  if [[ $dry_run == yes ]]; then
    plan "put back what $own/undo keeps, remove $own, and let sshd read its settings again"
    return
  fi
  [[ $(id -u) == 0 ]] || fail "only root can put sshd's settings back" "sudo ./install/ssh.sh --undo"
  find_sshd
  work=$(mktemp -d "$etc/.undo.XXXXXX")
  cp -a "$own" "$work/own"
  cp -a "$main_file" "$work/main"
  if [[ -e $drop_in ]]; then cp -a "$drop_in" "$work/drop_in"; fi
  restore
  rm -rf "$own"
  if ! "$sshd" -t -f "$main_file" 2>"$work/said"; then
    cp -a "$work/own" "$own"
    cp -a "$work/main" "$main_file"
    if [[ -e $work/drop_in ]]; then cp -a "$work/drop_in" "$drop_in"; fi
    cat "$work/said" >&2
    fail "what was there before is not valid any more, so nothing was put back" "$sshd -t   # mend it, then run --undo again"
  fi
  reload '' || fail "sshd did not answer with what was there before" "$sshd -t -f $main_file; $sshd -f $main_file"
  restore_password "$work/own"
  if [[ -z $root ]] && getent passwd "$user" >/dev/null; then say "the user $user stays: userdel --remove $user takes it away"; fi
  say "everything is as it was; the host keys that the volume keeps stay there"
}
