#!/usr/bin/env bash
# Puts the large files where the large disk is, and tells the shell where that is.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: install/storage.sh [--disk DIR] [--rc FILE] [--no-rc] [--quiet] [--help]

Makes admlops_repository (checkpoints/{mmdet,mmdet3d}, data/{mmdet,mmdet3d}, wheels, packs, runs, comparisons, cache,
artifacts) on the large disk and links it into the checkout. The large disk is DIR; or /workspace where that is a mount, as
on a pod; or the checkout's own disk. Environments stay with the checkout, unless that lies on a network disk: then they go
to ~/.local/share/admlops.

There is one repository, before and after. What the checkout holds (runs, data, weights) is moved to the large disk; what
an earlier disk holds stays there and is linked from the new one. Nothing is lost or overwritten: where both have something
of one name, the checkout's is kept beside, and named. A move that was interrupted goes on when this is run again.

Writes ADMLOPS_PATH and ADMLOPS_REP_PATH once into the shell's rc file, between two marks; a second run replaces what
is there. A later run without DIR keeps the disk.

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
shared=(checkpoints data wheels packs runs comparisons cache artifacts)
families=(checkpoints/mmdet checkpoints/mmdet3d data/mmdet data/mmdet3d)
own=$root/admlops_repository
goal_file=$own/.moving-to # where a move that has begun goes; gone once it is done

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
  elif [[ -s $goal_file ]]; then
    cat "$goal_file"
    return
  elif [[ -L $own/checkpoints && -d $own/checkpoints ]]; then
    dirname "$(readlink "$own/checkpoints")"
    return
  elif mountpoint -q /workspace 2>/dev/null && [[ -w /workspace ]]; then
    disk=/workspace
  fi
  if [[ -z $disk || $root == "$disk"/* ]]; then
    printf '%s\n' "$own"
  else
    printf '%s\n' "$disk/admlops_repository"
  fi
}

make_folders() { # repository
  local folder
  for folder in "${shared[@]}" "${families[@]}"; do
    mkdir -p "$1/$folder" || fail "$1/$folder cannot be made" "ls -ld $1   # or choose another --disk"
  done
}

is_own() { [[ $(readlink -m "$1") == $(readlink -m "$own") ]]; } # repository

on_one_disk() { [[ $(stat -c %d "$1") == $(stat -c %d "$2") ]]; } # two paths

# Enough room for what has to be copied, before anything is touched.
check_room() { # repository
  local existing=$1 name needed=0 free_kb
  until [[ -d $existing ]]; do existing=$(dirname "$existing"); done
  for name in "${shared[@]}"; do
    if [[ -d $own/$name && ! -L $own/$name ]] && ! on_one_disk "$own/$name" "$existing"; then
      needed=$((needed + $(du -sk "$own/$name" | cut -f1)))
    fi
  done
  free_kb=$(df -Pk "$existing" | awk 'NR == 2 { print $4 }')
  ((needed < free_kb)) || fail \
    "the checkout holds $((needed / 1024)) MB that would be moved to $1, and $((free_kb / 1024)) MB are free there" \
    "du -sh $own/*   # remove what you do not need, or choose another --disk"
}

# The checkout's admlops_repository shows the same folders, wherever they are.
link_folders() { # repository
  local name
  mkdir -p "$own"
  is_own "$1" && return 0
  printf '%s\n' "$1" >"$goal_file"
  for name in "${shared[@]}"; do
    link_folder "$own/$name" "$1/$name"
  done
  rm -f "$goal_file"
}

link_folder() { # link, folder
  if [[ -L $1 ]]; then
    [[ $(readlink "$1") != "$2" ]] || return 0
    if [[ -e $1 ]]; then
      adopt_links "$1" "$2" || return 0
    fi
    ln -sfn "$2" "$1"
    return
  fi
  if [[ -e $1 ]]; then
    move_entries "$1" "$2"
    if [[ -n $(find "$1" ! -type d -print -quit) ]]; then
      say "$1 stays in the checkout until nothing in it is in use: then run ./install/storage.sh again"
      return
    fi
    find "$1" -depth -type d -empty -delete
  fi
  ln -s "$2" "$1"
}

# What another disk holds stays there, perhaps for another checkout, and is linked from the new one. Fails where the
# checkout's link is the user's own and stays.
adopt_links() { # link, folder
  local before entry
  before=$(readlink -f "$1")
  [[ $before != "$(readlink -f "$2")" ]] || return 0
  if [[ $before != */admlops_repository/* ]] && clear_empty "$2"; then
    ln -s "$before" "$2" || fail "$2 could not be linked to $before" "ls -ld $(dirname "$2")"
    say "left as it is: $1 leads to $before, and $2 now does so too"
    return 1
  fi
  while IFS= read -r -d '' entry; do
    if ! is_there "$2/${entry##*/}" || clear_empty "$2/${entry##*/}"; then
      ln -s "$entry" "$2/${entry##*/}" || fail "$2/${entry##*/} could not be linked to $entry" "ls -ld $2"
    fi
  done < <(find "$before" -mindepth 1 -maxdepth 1 ! \( -type d -empty \) -print0)
  say "what was kept in $before stays there, and $2 shows it"
}

is_there() { [[ -e $1 || -L $1 ]]; }

# Removes a folder that holds nothing but folders; fails if there is more.
clear_empty() { # folder
  [[ -d $1 && ! -L $1 && -z $(find "$1" ! -type d -print -quit) ]] || return 1
  find "$1" -depth -type d -empty -delete
}

move_entries() { # folder, folder
  local entry moved=0
  while IFS= read -r -d '' entry; do
    clear_empty "$entry" && continue
    if is_in_use "$entry"; then
      say "$entry is in use and stays where it is"
    elif ! is_there "$2/${entry##*/}" || clear_empty "$2/${entry##*/}"; then
      move_entry "$entry" "$2/${entry##*/}"
      moved=$((moved + 1))
    elif holds_all "$entry" "$2/${entry##*/}"; then
      rm -rf -- "$entry" # an earlier move ended between copying and removing
    else
      keep_beside "$entry" "$2/${entry##*/}"
    fi
  done < <(find "$1" -mindepth 1 -maxdepth 1 -print0 | sort -z)
  ((moved == 0)) || say "moved what was in $1 to $2: $moved"
}

# A run that is being written holds the lock of its folder.
is_in_use() { # entry
  [[ -f $1/run.lock ]] && command -v flock >/dev/null && ! flock --nonblock "$1/run.lock" true
}

# Renamed on one disk; else copied beside, renamed, and only then removed here.
move_entry() { # entry, its new path
  local beside
  beside=$(dirname "$2")/.moving-${2##*/}
  if [[ -L $1 ]]; then
    ln -s "$(readlink -m "$1")" "$2" && rm -f -- "$1"
  elif on_one_disk "$1" "$(dirname "$2")"; then
    mv -T -- "$1" "$2"
  else
    say "moving $1, $(du -sh "$1" | cut -f1)"
    rm -rf -- "$beside"
    cp -a -- "$1" "$beside" && mv -T -- "$beside" "$2" && rm -rf -- "$1"
  fi || fail "$1 could not be moved to $2; nothing is lost" "df -h $(dirname "$2")   # then run it again"
}

holds_all() { # entry, another: whether each file of the first is in the second, with the same content
  local compared status=0
  compared=$(LC_ALL=C diff -rq --no-dereference "$1" "$2" 2>&1) || status=$?
  ((status < 2)) || return 1
  [[ -z $(awk -v other="Only in $2" 'index($0, other) != 1' <<<"$compared") ]]
}

keep_beside() { # entry, what is in its way
  local folder target number=1
  folder=$(dirname "$1").before
  target=$folder/${1##*/}
  while is_there "$target"; do
    number=$((number + 1))
    target=$folder/${1##*/}-$number
  done
  mkdir -p "$folder"
  mv -T -- "$1" "$target" || fail "$1 could not be kept in $folder; nothing is lost" "ls -ld $folder"
  say "another ${1##*/} is there already: $2; the checkout's is kept as $target"
}

# Environments are 100 000 small files: on a network disk they take minutes to build and seconds to start.
find_environments() {
  if [[ -n ${ADMLOPS_ENVIRONMENTS:-} ]]; then
    printf '%s\n' "$ADMLOPS_ENVIRONMENTS"
    return
  fi
  case $(stat -f -c %T "$root") in
    nfs* | cifs | smb* | fuse* | ceph | lustre | gpfs | afs | v9fs)
      [[ -n ${HOME:-} ]] || fail "$root is on a network disk, and without HOME no folder is known on a local one" \
        "export ADMLOPS_ENVIRONMENTS=/a/folder/on/a/local/disk"
      printf '%s\n' "$HOME/.local/share/admlops/environments"
      ;;
  esac
}

assignments() { # repository, environments
  printf 'export ADMLOPS_PATH=%q\n' "$root"
  printf 'export ADMLOPS_REP_PATH=%q\n' "$1"
  [[ -z $2 ]] || printf 'export ADMLOPS_ENVIRONMENTS=%q\n' "$2"
}

default_rc() { # needs HOME
  case ${SHELL:-} in
    */zsh) printf '%s\n' "${ZDOTDIR:-$HOME}/.zshrc" ;;
    */fish) printf '%s\n' "${XDG_CONFIG_HOME:-$HOME/.config}/fish/config.fish" ;;
    */bash | '') printf '%s\n' "$HOME/.bashrc" ;;
    *) printf '%s\n' "$HOME/.profile" ;;
  esac
}

# An rc file that cannot be written, as in a container with another user, is no reason to set nothing up.
can_write_rc() {
  local file
  if [[ -n $rc ]]; then return 0; fi
  if [[ -z ${HOME:-} ]]; then
    say "HOME is not set, so no rc file is written; in each new shell: eval \"\$($root/install/storage.sh --no-rc --quiet)\""
    return 1
  fi
  file=$(readlink -m "$(default_rc)")
  until [[ -e $file ]]; do file=$(dirname "$file"); done
  if [[ ! -w $file ]]; then
    say "$file cannot be written, so no rc file is; in each new shell: eval \"\$($root/install/storage.sh --no-rc --quiet)\""
    return 1
  fi
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
  is_own "$repository" || check_room "$repository"
  make_folders "$repository"
  link_folders "$repository"
  environments=$(find_environments)
  block=$(assignments "$repository" "$environments")
  if [[ $write_rc == yes ]] && can_write_rc; then update_rc "$block"; fi
  warn_about_room "$repository"
  say "large files are in $repository"
  if [[ $quiet == yes ]]; then printf '%s\n' "$block"; fi
}

main "$@"
