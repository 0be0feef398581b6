#!/usr/bin/env bash
# How long files take to come out of a backup: 1 GiB in 10,000 files, and one file of 4 GiB. Against cp from the kernel's
# mount (loop) of the same image, and guestfish copy-out. Must be root, because of the mount.
#
# Each run writes into an empty folder and is timed until the files are there (not until they are on the disk, but with
# SYNC=1). The image and the backup are in the page cache, the mount is made anew before each run.
#
#   benches/extract.sh [RUNS]     default 5; TARGET=FOLDER where to (default: beside the images), SCALE=10 for a tenth,
#                               LIBGUESTFS=0 without guestfish
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5}
scale=${SCALE:-1}
ctl=${CTL:-$PWD/target/release/sendense-ctl}
for program in hyperfine mkfs.ext4 mount jq; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "must be root: the kernel's mount is measured too" >&2; exit 1; }
export PATH=$PATH:/usr/sbin
work=$(mktemp -d "${TMPDIR:-/var/tmp}/extract.XXXXXX")
out=${TARGET:-$work}/out.$$
mnt=$work/mnt
mkdir "$mnt"
trap 'umount -q "$mnt" || true; rm -rf "$work" "$out"' EXIT
export SENDENSE_HOME=$work/state

image() { # name, size: fills an ext4 file system by a function of the same name
  truncate -s "$2" "$work/$1.raw"
  mkfs.ext4 -q -F "$work/$1.raw"
  mount -o loop "$work/$1.raw" "$mnt"
  "$1" "$mnt"
  umount "$mnt"
  "$ctl" backup start --vm "$1" --source "$work/$1.raw" --quiet
}

small() {
  local count=$((10000 / scale)) folder n
  head -c $((count * 107374)) /dev/urandom >"$work/noise"
  for ((folder = 0; folder < count / 100; folder++)); do
    mkdir -p "$1/data/$folder"
    split -b 107374 -a 3 -d --additional-suffix=.bin <(tail -c +$((folder * 100 * 107374 + 1)) "$work/noise" | head -c $((100 * 107374))) "$1/data/$folder/f"
  done
  rm "$work/noise"
  n=$(find "$1/data" -type f | wc -l)
  [ "$n" = "$count" ] || { echo "$n files instead of $count" >&2; exit 1; }
}

large() {
  mkdir "$1/data"
  head -c $((4294967296 / scale)) /dev/urandom >"$1/data/file"
}

image small $((2147483648 / scale + 67108864))
image large $((5368709120 / scale + 67108864))
find "$SENDENSE_HOME/repository" -name '*.qcow2' -exec cat {} + >/dev/null
cat "$work"/*.raw >/dev/null

guestfish=()
if [ "${LIBGUESTFS:-1}" = 0 ]; then
  echo "without guestfish" >&2
elif command -v guestfish >/dev/null; then
  export LIBGUESTFS_BACKEND=direct
  guestfish=(yes)
else
  echo "SKIPPED: guestfish is not installed, its rows are missing" >&2
fi
after=true
[ "${SYNC:-0}" = 0 ] || after="sync -f '$out'"
nproc | xargs echo "cores:"
for kind in small large; do
  raw=$work/$kind.raw
  fresh="rm -rf '$out'; mkdir '$out'; umount -q '$mnt'; mount -o ro,noload,loop '$raw' '$mnt'"
  commands=(
    -n "$kind: ours" "'$ctl' backup extract $kind@latest /data --volume disk0 --output '$out' --quiet && $after"
    -n "$kind: cp -a, kernel's mount" "cp -a '$mnt/data' '$out/' && $after"
  )
  [ ${#guestfish[@]} = 0 ] || commands+=(
    -n "$kind: guestfish copy-out" "guestfish --ro -a '$raw' -m /dev/sda copy-out /data '$out' && $after"
  )
  hyperfine --style none --runs "$runs" --prepare "$fresh" --export-json "$work/$kind.json" "${commands[@]}" >/dev/null
  jq -r '.results[] | [.command, (.median*100|round/100), ((.user+.system)*100|round/100)] | @tsv' "$work/$kind.json" |
    awk -F'\t' 'NR == 1 { ours = $2 } { printf "| %s | %s s | %s s CPU | %.2f × |\n", $1, $2, $3, ours / $2 }'
  umount -q "$mnt" || true
done
