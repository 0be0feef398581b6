#!/usr/bin/env bash
# Files out of a backup: mount until the first ls, one large file and many small ones through FUSE, against the kernel's
# own mount (loop) of the same image. One image, one run, all in turn; medians of five. Needs root for the loop mount.
#
#   benches/browse.sh [RUNS]      default 5
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
ctl=$PWD/target/release/sendense-ctl
for program in mkfs.ext4 hyperfine jq; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/browse.XXXXXX")
cleanup() {
  "$ctl" restore unmount --all --force >/dev/null 2>&1 || true
  umount "$work/kernel" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
export SENDENSE_HOME=$work/state
large=${LARGE_MIB:-4096} small=${SMALL_FILES:-10000}

echo "== making a disk with one file of $large MiB and $small files of 100 KiB" >&2
truncate -s $((large + small / 9 + 512))M "$work/disk.raw"
mkfs.ext4 -q -F "$work/disk.raw"
mkdir "$work/kernel" "$work/ours"
mount -o loop "$work/disk.raw" "$work/kernel"
head -c "${large}M" /dev/urandom >"$work/kernel/large"
mkdir "$work/kernel/small"
for folder in $(seq 0 99); do
  mkdir "$work/kernel/small/$folder"
  for file in $(seq $((small / 100))); do
    head -c 100K /dev/urandom >"$work/kernel/small/$folder/$file"
  done
done
umount "$work/kernel"
"$ctl" backup start --vm web --source "$work/disk.raw" --quiet

median() { jq -r '.results[] | "\(.command): \(.median * 1000 | round) ms"' "$1"; }
measure() { # file, then hyperfine's arguments
  local out=$work/$1.json
  shift
  hyperfine --runs "$runs" --shell bash --style none --export-json "$out" "$@" >/dev/null
  median "$out"
}

echo "== mount until the first ls; the command itself"
measure mount --warmup 1 --cleanup "$ctl restore unmount '$work/ours'" \
  --prepare "$ctl restore unmount '$work/ours' >/dev/null 2>&1 || true" \
  -n "backup mount, ls" "$ctl backup mount web@latest '$work/ours' --volume disk0 -q && ls '$work/ours'"
measure kernelmount --prepare "umount '$work/kernel' 2>/dev/null || true" --cleanup "umount '$work/kernel'" \
  -n "mount -o loop, ls" "mount -o loop,ro '$work/disk.raw' '$work/kernel' && ls '$work/kernel'"

echo "== reading, caches of both mounts cold (mounted anew), the image's own pages warm"
remount="$ctl restore unmount '$work/ours' >/dev/null 2>&1; $ctl backup mount web@latest '$work/ours' --volume disk0 -q; umount '$work/kernel' 2>/dev/null; mount -o loop,ro '$work/disk.raw' '$work/kernel'"
measure read --prepare "$remount" \
  -n "large: kernel" "cat '$work/kernel/large' >/dev/null" \
  -n "large: ours" "cat '$work/ours/large' >/dev/null" \
  -n "small: kernel" "tar -cf - -C '$work/kernel' small | cat >/dev/null" \
  -n "small: ours" "tar -cf - -C '$work/ours' small | cat >/dev/null"

echo "== copying out with cp -a, onto the same file system"
measure copy --prepare "$remount; rm -rf '$work/copy'; mkdir '$work/copy'" \
  -n "large: kernel" "cp -a '$work/kernel/large' '$work/copy'" \
  -n "large: ours" "cp -a '$work/ours/large' '$work/copy'" \
  -n "small: kernel" "cp -a '$work/kernel/small' '$work/copy'" \
  -n "small: ours" "cp -a '$work/ours/small' '$work/copy'"
