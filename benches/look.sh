#!/usr/bin/env bash
# How long it takes to see a file of a backup: cold process, warm cache, out of a chain of six compressed points of a Debian
# system on LVM (benches/guest.sh), beside libguestfs on the same chain.
#
#   benches/look.sh [FOLDER] [RUNS]    FOLDER: where guest.sh puts the system (default /var/tmp/sendense-guest), 10 runs
set -euo pipefail
here=$(dirname "$(realpath "$0")")
folder=${1:-/var/tmp/sendense-guest}
runs=${2:-10}
ctl=$here/../target/release/sendense-ctl
for program in hyperfine guestfish virt-cat jq; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
"$here/guest.sh" "$folder"
export SENDENSE_HOME=$folder/state LIBGUESTFS_BACKEND=direct
top=$("$ctl" backup show debian@latest --json | jq -r '.backup.disk_results[0].file_path')

[ "$("$ctl" backup cat debian@latest /etc/hostname)" = debian ]
[ "$(virt-cat --format=qcow2 -a "$top" /etc/hostname)" = debian ]
# The same names, by our listing and by theirs.
diff <("$ctl" backup ls debian@latest /usr/bin | sed 's| -> .*||; s|/$||' | sort) \
  <(guestfish --ro --format=qcow2 -a "$top" -i ls /usr/bin | sort)

work=$(mktemp -d /dev/shm/look.XXXXXX)
trap 'rm -rf "$work"' EXIT
# The medians of some commands: how many runs to warm up, how many to measure, and the commands.
measure() {
  hyperfine --warmup "$1" --runs "$2" --shell=none --style none --export-json "$work/times" "${@:3}" >/dev/null
  jq -r '.results[] | "\(.median * 1e5 | round / 100) ms (at least \(.min * 1e5 | round / 100)), \((.user + .system) * 1e5 | round / 100) ms CPU: \(.command)"' \
    "$work/times" | sed "s|$ctl|sendense-ctl|; s|$top|TOP.qcow2|"
}

# Mounts, until their first listing; each is unmounted before the next.
mkdir "$work/ours" "$work/theirs"
measure 1 "$((runs * 5))" --prepare "bash -c '$ctl restore unmount $work/ours 2>/dev/null || true'" --cleanup "$ctl restore unmount $work/ours" \
  "bash -c '$ctl backup mount debian@latest $work/ours --quiet && ls $work/ours/usr/bin'"

measure 3 "$((runs * 5))" \
  "$ctl backup cat debian@latest /etc/hostname" \
  "$ctl backup ls debian@latest /usr/bin" \
  "$ctl backup ls debian@latest /usr/bin -l" \
  "$ctl backup volumes debian@latest"

# Opening looks at every volume that may hold a root: how that grows with the disks of a VM.
mkdir -p "$work/root/etc" "$work/root/usr/bin" "$work/data"
echo many > "$work/root/etc/hostname"
printf 'NAME=Testix\nID=testix\n' > "$work/root/etc/os-release"
printf '/dev/sda / ext4 defaults 0 1\n' > "$work/root/etc/fstab"
for number in $(seq 2000); do echo "$number" > "$work/data/$number"; done
commands=()
for count in 1 8 24; do
  disks=()
  for number in $(seq "$count"); do
    disk=$work/$count-$number.raw
    truncate -s 256M "$disk"
    tree=$work/data
    [ "$number" != 1 ] || tree=$work/root
    PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -d "$tree" "$disk"
    disks+=(--disk "$disk")
  done
  SENDENSE_HOME=$work/state "$ctl" vm add "of-$count" "${disks[@]}" --quiet
  SENDENSE_HOME=$work/state "$ctl" backup start --vm "of-$count" --compress --quiet
  [ "$("$ctl" --state-dir "$work/state" backup cat "of-$count@latest" /etc/hostname)" = many ]
  commands+=("$ctl --state-dir $work/state backup cat of-$count@latest /etc/hostname")
done
measure 3 "$((runs * 3))" "${commands[@]}"

if command -v guestmount >/dev/null; then
  measure 0 "$runs" --prepare "bash -c 'guestunmount $work/theirs 2>/dev/null || true'" --cleanup "guestunmount $work/theirs" \
    "bash -c 'guestmount --ro --format=qcow2 -a $top -i $work/theirs && ls $work/theirs/usr/bin'"
fi
# Where KVM is not to be had: LIBGUESTFS_BACKEND_SETTINGS=force_tcg.
measure 1 "$runs" \
  "virt-cat --format=qcow2 -a $top /etc/hostname" \
  "guestfish --ro --format=qcow2 -a $top -i cat /etc/hostname" \
  "guestfish --ro --format=qcow2 -a $top -i ls /usr/bin"
