#!/usr/bin/env bash
# Puts the large files where the large disk is, and tells the shell where that is.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/storage.sh [--disk DIR] [--rc FILE] [--no-rc] [--quiet] [--help]

Makes admlops_repository (checkpoints/{mmdet,mmdet3d}, data/{mmdet,mmdet3d}, wheels, packs, runs) on the large disk and
links it into the checkout. The large disk is DIR; or /workspace where that is a mount, as on a pod; or the checkout's own
disk. Environments stay with the checkout, unless that lies on a network disk: then they go to ~/.local/share/admlops.

Writes ADMLOPS_PATH and ADMLOPS_REP_PATH once into the shell's rc file, between two marks; a second run replaces what
is there. A later run without DIR keeps the disk. Nothing is ever moved or deleted: files in the way are named.

  --disk DIR   the large disk
  --rc FILE    the rc file [default: that of $SHELL]
  --no-rc      leave rc files alone
  --quiet      print only the ADMLOPS_… assignments, as setup.sh reads them
  --help       this text

Example:
  ./install/storage.sh --disk /workspace --no-rc
HELP
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
disk=
rc=
write_rc=yes
quiet=no
comfortable_gb=60
folders=(checkpoints/mmdet checkpoints/mmdet3d data/mmdet data/mmdet3d wheels packs runs)

fail() { # message, what to type next
  printf 'storage: %s\n  → %s\n' "$1" "$2" >&2
  exit 2
}

say() {
  if [[ $quiet == yes ]]; then
    printf 'storage: %s\n' "$1" >&2
  else
    printf 'storage: %s\n' "$1"
  fi
}

parse() {
  while (($#)); do
    case $1 in
      --disk | --rc)
        (($# > 1)) || fail "$1 needs a value" "./install/storage.sh --help"
        if [[ $1 == --disk ]]; then disk=$2; else rc=$2; fi
        shift
        ;;
      --no-rc) write_rc=no ;;
      --quiet) quiet=yes ;;
      --help | -h) usage && exit 0 ;;
      *) fail "unknown option $1" "./install/storage.sh --help" ;;
    esac
    shift
  done
}

# Where the large files go: as asked for now, as set, as an earlier run chose, or where it is best.
find_repository() {
  if [[ -n $disk ]]; then
    [[ -d $disk && -w $disk ]] || fail "$disk is no folder that can be written" "ls -ld $disk   # or choose another --disk"
    disk=$(cd "$disk" && pwd -P)
  elif [[ -n ${ADMLOPS_REP_PATH:-} ]]; then
    printf '%s\n' "$ADMLOPS_REP_PATH"
    return
  elif [[ -L $root/admlops_repository/checkpoints && -d $root/admlops_repository/checkpoints ]]; then
    dirname "$(readlink "$root/admlops_repository/checkpoints")"
    return
  elif mountpoint -q /workspace 2>/dev/null && [[ -w /workspace ]]; then
    disk=/workspace
  fi
  if [[ -z $disk || $root == "$disk"/* ]]; then
    printf '%s\n' "$root/admlops_repository"
  else
    printf '%s\n' "$disk/admlops_repository"
  fi
}

make_folders() { # repository
  local folder
  for folder in "${folders[@]}"; do
    mkdir -p "$1/$folder" || fail "$1/$folder cannot be made" "ls -ld $1   # or choose another --disk"
  done
}

# The checkout's admlops_repository shows the same folders, wherever they are.
link_folders() { # repository
  local own=$root/admlops_repository name
  mkdir -p "$own"
  [[ $(cd "$1" && pwd -P) != $(cd "$own" && pwd -P) ]] || return 0
  for name in checkpoints data wheels packs runs; do
    link_folder "$own/$name" "$1/$name"
  done
}

link_folder() { # link, folder
  local before
  if [[ -L $1 ]]; then
    before=$(readlink "$1")
    [[ $before != "$2" ]] || return 0
    if [[ -e $1 && $before != */admlops_repository/* ]]; then
      say "left as it is: $1 leads to $before"
      return
    fi
    if [[ -e $1 ]]; then say "what was kept in $before stays there"; fi
    ln -sfn "$2" "$1"
  elif [[ ! -e $1 ]]; then
    ln -s "$2" "$1"
  elif [[ -z $(find "$1" ! -type d -print -quit) ]]; then
    find "$1" -depth -type d -empty -delete
    ln -s "$2" "$1"
  else
    say "left as it is: $1 holds files; to use them: mv $1/* $2/ && rmdir $1, then run this again"
  fi
}

# Environments are 100 000 small files: on a network disk they take minutes to build and seconds to start.
find_environments() {
  if [[ -n ${ADMLOPS_ENVIRONMENTS:-} ]]; then
    printf '%s\n' "$ADMLOPS_ENVIRONMENTS"
    return
  fi
  case $(stat -f -c %T "$root") in
    nfs* | cifs | smb* | fuse* | ceph | lustre | gpfs | afs | v9fs) printf '%s\n' "$HOME/.local/share/admlops/environments" ;;
  esac
}

assignments() { # repository, environments
  printf 'export ADMLOPS_PATH=%q\n' "$root"
  printf 'export ADMLOPS_REP_PATH=%q\n' "$1"
  [[ -z $2 ]] || printf 'export ADMLOPS_ENVIRONMENTS=%q\n' "$2"
}

default_rc() {
  case ${SHELL:-} in
    */zsh) printf '%s\n' "${ZDOTDIR:-$HOME}/.zshrc" ;;
    */bash | '') printf '%s\n' "$HOME/.bashrc" ;;
    *) printf '%s\n' "$HOME/.profile" ;;
  esac
}

# Replaces the block between the marks, or appends it. Written beside and renamed, through links, with the same rights.
update_rc() { # block
  local file begin='# >>> admlops >>>' end='# <<< admlops <<<' new
  file=$(readlink -m "${rc:-$(default_rc)}")
  mkdir -p "$(dirname "$file")"
  [[ -e $file ]] || : >"$file" || fail "$file cannot be written" "./install/storage.sh --no-rc   # or --rc FILE"
  if [[ $(grep -cxF "$begin" "$file") != $(grep -cxF "$end" "$file") ]]; then
    fail "$file has only one of the lines that enclose what admlops wrote" "edit $file: remove '$begin' and what follows it"
  fi
  new=$(mktemp "$file.XXXXXX") || fail "$file cannot be written" "./install/storage.sh --no-rc   # or --rc FILE"
  cp -p "$file" "$new"
  {
    awk -v begin="$begin" -v end="$end" '$0 == begin { inside = 1 } !inside { print } $0 == end { inside = 0 }' "$file"
    printf '%s\n%s\n%s\n' "$begin" "$1" "$end"
  } >"$new"
  if cmp -s "$file" "$new"; then
    rm -f "$new"
  else
    mv "$new" "$file"
    say "wrote ADMLOPS_PATH and ADMLOPS_REP_PATH to $file; in this shell: source $file"
  fi
}

warn_about_room() { # repository
  local free_gb
  free_gb=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1048576) }')
  if ((free_gb < comfortable_gb)); then
    say "$1 has $free_gb GB free; data sets and packs want more: ./install/storage.sh --disk /a/larger/disk"
  fi
}

main() {
  parse "$@"
  local repository environments block
  repository=$(find_repository)
  make_folders "$repository"
  link_folders "$repository"
  environments=$(find_environments)
  block=$(assignments "$repository" "$environments")
  if [[ $write_rc == yes ]]; then update_rc "$block"; fi
  warn_about_room "$repository"
  say "large files are in $repository"
  if [[ $quiet == yes ]]; then printf '%s\n' "$block"; fi
}

main "$@"
