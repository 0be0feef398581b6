#!/usr/bin/env bash
# Makes the mixed disk that the benchmarks use: GPT with one ext4 partition that holds programs and
# libraries, documents, and random data, about 55 % of it in use. No root needed.
#
#   benches/mixed-disk.sh FILE [SIZE_MIB]      default 4096
set -euo pipefail
out=${1:?usage: benches/mixed-disk.sh FILE [SIZE_MIB]}
mib=${2:-4096}
PATH=$PATH:/usr/sbin:/sbin
for program in mkfs.ext4 sgdisk; do
  command -v "$program" >/dev/null || { echo "$program is not installed (packages e2fsprogs, gdisk)" >&2; exit 1; }
done

tree=$(mktemp -d "${TMPDIR:-/tmp}/mixed-disk.XXXXXX")
trap 'rm -rf "$tree"' EXIT

# Copies files of a folder until the limit (MiB) is reached.
take() {
  [ -d "$1" ] || return 0
  mkdir -p "$2"
  find "$1" -xdev -type f -readable -size +0 -printf '%s %P\0' \
    | awk -v RS='\0' -v ORS='\0' -v left=$(($3 * 1048576)) '
        { size = $1; sub(/^[0-9]+ /, ""); if (size <= left) { left -= size; print } }' \
    | tar -C "$1" --null --files-from=- -cf - | tar -C "$2" --no-same-owner -xf -
}
take /usr/bin "$tree/usr/bin" $((mib * 8 / 100))
take /usr/lib "$tree/usr/lib" $((mib * 22 / 100))
take /usr/share "$tree/usr/share" $((mib * 8 / 100))
mkdir -p "$tree/srv"
for i in 1 2 3 4; do
  head -c $((mib * 1048576 * 35 / 1000)) /dev/urandom > "$tree/srv/random-$i.bin"
done

rm -f "$out"
truncate -s "${mib}M" "$out"
sgdisk --clear --new=1:2048:0 --typecode=1:8300 "$out" >/dev/null
mkfs.ext4 -q -F -L mixed -d "$tree" -E offset=1048576,lazy_itable_init=1,nodiscard "$out" "$(((mib - 2) * 1024))k" >/dev/null
fallocate --dig-holes "$out"
du -m --apparent-size "$out" >&2
du -m "$out" >&2
