#!/usr/bin/env bash
# Builds one disk of the differential corpus: six states of it, and with each what the kernel's own mount shows.
#
#   tests/corpus/build.sh list                  the names
#   tests/corpus/build.sh make NAME FOLDER      makes FOLDER/0 … FOLDER/5, each with disk0.raw (and disk1.raw) and truth.jsonl
#
# See README.md beside this file. Needs root (loop devices, mounts); everything that it mounts is in namespaces of its own
# and goes away with it, however it ends.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8 TZ=UTC LVM_SUPPRESS_FD_WARNINGS=1 MTOOLS_SKIP_CHECK=1
here=$(dirname "$(realpath "$0")")

# What each name is: the file system, the size of one disk in MiB, how many small files, options of mkfs and of mount,
# and what it lies in.
spec() {
  fs=${1%%-*} size=160 files=200 mkfs='' options='' layers='' disks=1
  case $1 in
    ext4) size=320 files=2000 ;;
    ext4-inline-data) mkfs='-O inline_data -I 512' ;;
    ext4-bigalloc) size=400 mkfs='-O bigalloc -C 16384' ;;
    ext4-meta-bg) mkfs='-b 1024 -O meta_bg,^resize_inode -g 2048 -N 8192' ;;
    ext4-large-dir) mkfs='-b 1024 -O large_dir -N 8192' ;;
    ext4-ea-inode) mkfs='-O ea_inode' ;;
    ext4-no-checksums) mkfs='-b 1024 -O ^metadata_csum,^64bit -N 8192' ;;
    ext4-casefold) mkfs='-O casefold' ;;
    ext4-encrypt) mkfs='-O encrypt' ;;
    ext4-fast-commit) mkfs='-O fast_commit' ;;
    ext4-data-journal) options='data=journal' ;;
    ext3 | ext2) mkfs='-b 2048 -N 8192' ;;
    xfs) size=400 files=2000 mkfs='-m reflink=1,bigtime=1,rmapbt=1 -i nrext64=1' ;;
    xfs-old) size=320 mkfs='-b size=1024 -m reflink=0,bigtime=0,finobt=0,inobtcount=0 -i nrext64=0,sparse=0' ;;
    xfs-v4) size=320 mkfs='-m crc=0,uuid=0f0e0d0c-0b0a-0908-0706-050403020100 -i size=512' ;;
    btrfs) size=320 files=2000 ;;
    btrfs-zstd | btrfs-lzo | btrfs-zlib) options="compress-force=${1#btrfs-}" ;;
    btrfs-raid0 | btrfs-raid1) disks=2 mkfs="-d ${1#btrfs-} -m ${1#btrfs-}" ;;
    ntfs) size=200 files=2000 ;;
    ntfs-compressed) mkfs='-C' options='compression' ;;
    ntfs-fragmented) size=14 mkfs='-c 512' ;;
    fat16) fs=fat mkfs='-F 16' ;;
    fat32) fs=fat mkfs='-F 32 -s 1' files=2000 ;;
    exfat) files=2000 ;;
    lvm-linear) fs=ext4 disks=2 layers=linear ;;
    lvm-striped) fs=xfs size=320 disks=2 layers=striped ;;
    lvm-gpt) fs=ext4 mkfs='-b 1024 -N 8192' layers=gpt ;;
    lvm-luks2) fs=btrfs layers=luks2 ;;
    *) echo "there is no $1 in the corpus: $0 list" >&2; exit 2 ;;
  esac
}

names=(ext4 ext4-inline-data ext4-bigalloc ext4-meta-bg ext4-large-dir ext4-ea-inode ext4-no-checksums ext4-casefold
  ext4-encrypt ext4-fast-commit ext4-data-journal ext3 ext2 xfs xfs-old xfs-v4 btrfs btrfs-zstd btrfs-lzo btrfs-zlib
  btrfs-raid0 btrfs-raid1 ntfs ntfs-compressed ntfs-fragmented fat16 fat32 exfat lvm-linear lvm-striped lvm-gpt lvm-luks2)

mib=$((1 << 20))

# How many disks the file system itself lies on.
members() { if [ -n "$layers" ]; then echo 1; else echo "$disks"; fi; }

# Attaches the disks of a file system, which lie one after the other in one file, so that one copy has all of them at one
# moment. The devices are in $devices. ntfs-3g takes the file itself: as the server of a block device it could not be killed,
# because the kernel would wait for its last answer.
attach() {
  local number
  if [ "$fs" = ntfs ]; then devices=("$1"); return; fi
  devices=()
  for number in $(seq 0 $(($(members) - 1))); do
    devices+=("$(losetup -f --show -o $((number * size * mib)) --sizelimit $((size * mib)) "$1")")
  done
}

# Lets go of what is attached: at once, or, where it is mounted, with the mount.
detach() {
  local device
  [ "$fs" != ntfs ] || return 0
  for device in "${devices[@]}"; do losetup -d "$device"; done
}

make_file_system() {
  # Words are split on purpose: these are options.
  # shellcheck disable=SC2086
  case $fs in
    ext2 | ext3 | ext4) "mkfs.$fs" -q -F $mkfs "${devices[0]}" ;;
    xfs) mkfs.xfs -q --unsupported $mkfs "${devices[0]}" ;;
    btrfs) mkfs.btrfs -q -K $mkfs "${devices[@]}" >/dev/null ;;
    ntfs) mkntfs -q -F -Q -p 0 -H 0 -S 0 -s 512 $mkfs "${devices[0]}" 2>/dev/null ;;
    exfat) mkfs.exfat "${devices[0]}" >/dev/null ;;
  esac
}

# Mounts btrfs. The kernel may still know the one before under its device, which somebody else has by now: it says that this
# one exists already, until it has forgotten the other.
mount_btrfs() {
  for _ in $(seq 50); do
    ! mount -t btrfs -o "$1" "${devices[0]}" "$at" 2>"$work/said" || return 0
    btrfs device scan --forget >/dev/null 2>&1 || true
    sleep 0.1
  done
  cat "$work/said" >&2
  return 1
}

# Mounts the file system of a file with these options, making it first where it is wanted.
enter() {
  local all=noatime${2:+,$2} device
  attach "$1"
  [ "${3:-}" != new ] || make_file_system
  case $fs in
    btrfs) for device in "${devices[@]:1}"; do all+=,device=$device; done; mount_btrfs "$all" ;;
    ntfs) ntfs-3g -o "$all,umask=022" "${devices[0]}" "$at" ;;
    exfat) mount -t exfat-fuse -o "$all" "${devices[0]}" "$at" >/dev/null 2>&1 ;;
    *) mount -t "$fs" -o "$all" "${devices[0]}" "$at" ;;
  esac
  detach
}

leave() {
  local device
  umount "$at"
  # A daemon behind the mount writes its last things before it lets go of the disk. No other is seen in this namespace.
  while pgrep -x ntfs-3g >/dev/null; do :; done
  for device in "${devices[@]}"; do
    while [ -e "/sys/block/${device#/dev/}/loop/backing_file" ]; do :; done
    # The kernel remembers devices by the identity of the file system, which copies share.
    [ "$fs" != btrfs ] || btrfs device scan --forget "$device" >/dev/null 2>&1 || true
  done
  devices=()
}

# The folder that is filled.
top() { if [ "$name" = ext4-casefold ]; then echo "$at/folded"; else echo "$at"; fi; }

fill() {
  case $name in
    ntfs-fragmented) "$here/fill.py" fragment "$at"; return ;;
    # What is made in a folder that ignores case does it too.
    ext4-casefold) mkdir "$at/folded"; chattr +F "$at/folded" ;;
  esac
  "$here/fill.py" fill "$(top)" "$files"
  case $name in
    ext4-encrypt)
      # A kernel for testing encrypts everything new with a key of its own; later mounts do not have it.
      leave; enter "$live" test_dummy_encryption
      mkdir "$at/secret"; echo secret > "$at/secret/file"; ln -s target "$at/secret/link"; echo secret > "$at/secret file"
      leave; enter "$live" "$options" ;;
    ntfs*) rm -f "$at/nodes/pipe" "$at/nodes/socket" ;; # Empty files with a flag: who wrote them is not to be seen.
  esac
  case $name in
    btrfs) btrfs -q subvolume create "$at/subvolume"; seq 5000 > "$at/subvolume/file" ;;
    ntfs) for n in $(seq 20); do setfattr -n "user.stream $n" -v "$(printf 's%.0s' $(seq $((n * 100))))" "$at/holes/text"; done ;;
  esac
}

change() {
  if [ "$name" = ntfs-fragmented ]; then
    rm "$at"/names/*"$1"; for n in $(seq 9); do seq "$1$n" 900 > "$at/new $1 $n" || true; done; seq 900 >> "$at/many extents"
    return
  fi
  [ "$name" != btrfs ] || [ "$1" -gt 2 ] || btrfs -q subvolume snapshot -r "$at" "$at/snapshot $1"
  "$here/fill.py" change "$(top)" "$1"
}

# A copy of the disks as they are at this moment.
copy() { cp --reflink=always "$1" "$2"; }

# Copies the disks while two programs write to the file system.
copy_under_load() {
  local writers=() pipe=$work/pipe line
  mkfifo "$pipe"
  exec {rounds}<>"$pipe"
  for writer in 1 2; do
    "$here/load.py" "$at/load $writer" "$2$writer" > "$pipe" &
    writers+=($!)
  done
  # Until both are at work, and things were flushed.
  for _ in $(seq 12); do read -r -t 60 -u "$rounds" line || { echo "the load does not run: $line" >&2; exit 1; }; done
  copy "$live" "$1"
  kill "${writers[@]}"; wait "${writers[@]}" 2>/dev/null || true
  exec {rounds}>&-
  rm "$pipe"
}

# Six states of a file system that can be mounted: even ones unmounted, odd ones copied under load.
mounted_states() {
  local state
  truncate -s $(($(members) * size))M "$live"
  enter "$live" "$options" new
  fill
  for state in 0 1 2 3 4 5; do
    [ "$state" = 0 ] || change "$state"
    if [ $((state % 2)) = 1 ]; then
      copy_under_load "$work/state$state" "$state"
    else
      leave; copy "$live" "$work/state$state"; enter "$live" "$options"
    fi
  done
  leave
  for state in 0 1 2 3 4 5; do
    # What stands in a journal is replayed here, by who mounts it.
    copy "$work/state$state" "$work/truth"
    case $fs in ntfs | exfat) enter "$work/truth" ro ;; *) enter "$work/truth" ;; esac
    mkdir "$folder/$state"
    "$here/list.py" "$at" > "$folder/$state/truth.jsonl"
    leave
    rm "$work/truth"
    assemble "$work/state$state" "$folder/$state"
  done
}

# Writes a state's disks into their place: as they are, or into the layers around them.
assemble() {
  local number
  case $layers in
    '')
      for number in $(seq 0 $((disks - 1))); do
        put "$1" $((number * size * mib)) "$2/disk$number.raw" 0 $((size * mib))
        truncate -s "${size}M" "$2/disk$number.raw"
      done
      return ;;
    gpt)
      # The partition of an MBR or GPT begins in its second MiB.
      truncate -s $((size + 2))M "$work/inside"; sgdisk -n "1:2048:+${size}M" -u "1:0f0e0d0c-0b0a-0908-0706-050403020100" "$work/inside" >/dev/null
      put "$1" 0 "$work/inside" $mib $((size * mib)) ;;
    luks2)
      cp --sparse=always "$1" "$work/inside"; truncate -s +16M "$work/inside"
      # The volume key stays the same: what did not change is the same on the disk.
      seq 100 | head -c 64 > "$work/volume-key"; printf 'correct horse' > "$folder/key"
      cryptsetup reencrypt --encrypt -q --type luks2 --reduce-device-size 16M --key-file "$folder/key" \
        --volume-key-file "$work/volume-key" --uuid 0f0e0d0c-0b0a-0908-0706-050403020100 --sector-size 4096 \
        --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$work/inside" ;;
    *) cp --sparse=always "$1" "$work/inside" ;;
  esac
  for number in $(seq 0 $((disks - 1))); do cp --sparse=always "$work/group$number" "$2/disk$number.raw"; done
  "$here/scatter.py" "$work/inside" "$work/pieces" "$2"
  rm "$work/inside"
}

# put FROM OFFSET TO OFFSET LENGTH
put() {
  dd if="$1" iflag=skip_bytes,count_bytes skip="$2" of="$3" oflag=seek_bytes seek="$4" count="$5" bs=1M conv=notrunc,sparse status=none
}

lvm() {
  local command=$1 filter='' device
  shift
  for device in "${devices[@]}"; do filter+="\"a|^$device\$|\","; done
  "$command" --driverloaded n --config "devices{use_devicesfile=0 filter=[$filter\"r|.*|\"]}
    activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0} global{event_activation=0}" "$@" 2>"$work/said" ||
    { cat "$work/said" >&2; exit 1; }
}

# Makes the disks with the group and its volume, empty, and $work/pieces: where each part of the volume lies, in order, as
# disk, offset and length. No device mapper is needed for it.
make_group() {
  local number each wanted options=() legs line stripe=65536
  wanted=$((size + 18))
  each=$((wanted / disks + 24))
  devices=()
  for number in $(seq 0 $((disks - 1))); do
    truncate -s ${each}M "$work/group$number"
    devices+=("$(losetup -f --show "$work/group$number")")
  done
  lvm pvcreate "${devices[@]}" >/dev/null
  lvm vgcreate -s 1M guest "${devices[@]}" >/dev/null
  [ "$layers" != striped ] || options=(-i 2 -I 64k)
  lvm lvcreate -an -Zn -Wn -y -n data -L ${wanted}M "${options[@]}" guest >/dev/null
  lvm lvs --noheadings --segments --units b --nosuffix --separator ' ' -o seg_size,seg_pe_ranges guest/data | while read -r length legs; do
    local places=() leg
    for leg in $legs; do
      for number in "${!devices[@]}"; do
        [ "${leg%:*}" != "${devices[number]}" ] || line=$number
      done
      number=${leg##*:}
      places+=("$line $(($(lvm pvs --noheadings --units b --nosuffix -o pe_start "${leg%:*}") + ${number%-*} * mib))")
    done
    if [ "${#places[@]}" = 1 ]; then
      echo "${places[0]} $length"
    else
      for ((number = 0; number < length / stripe; number++)); do
        read -r disk start <<< "${places[number % 2]}"
        echo "$disk $((start + (number - number % 2) * stripe / 2)) $stripe"
      done
    fi
  done > "$work/pieces"
  detach
  devices=()
}

# Copies the files of $group into the folder $at_folder of a FAT.
write_group() {
  [ "${#group[@]}" = 0 ] || mcopy -D o -m -i "$live" "${group[@]}" "::$at_folder"
  group=()
}

# FAT, for which this kernel may have no driver: mtools write it and tell what is on it.
fat_states() {
  local source=$work/source state path group=() at_folder=''
  mkdir "$source"
  "$here/fill.py" fill "$source" "$files"
  rm -rf "$source/nodes" "$source/attributes" "$source/holes/sparse"
  # No bytes that are no text, no line breaks and backslashes, no name of spaces and dots only.
  find "$source/odd names" -type f ! -name 'Ü*' ! -name 'a very*' ! -name UPPER -delete
  find "$source" -type l -delete
  truncate -s ${size}M "$live"
  # shellcheck disable=SC2086
  mkfs.fat $mkfs "$live" >/dev/null
  mcopy -i "$live" -s -n -m "$source"/* ::/
  for state in 0 1 2 3 4 5; do
    if [ "$state" != 0 ]; then
      (cd "$source" && find . -type f | sort) > "$work/before"
      touch "$work/since"
      : > "$source/holes/sparse"; mkdir -p "$source/attributes"; touch "$source/attributes/some" "$source/attributes/of many"
      "$here/fill.py" change "$source" "$state"
      rm -rf "$source/holes/sparse" "$source/attributes"; find "$source" -type l -delete
      (cd "$source" && find . -type f | sort) > "$work/after"
      comm -23 "$work/before" "$work/after" | sed 's/^/::/' | xargs -d '\n' -r mdel -i "$live"
      (cd "$source" && find . -mindepth 1 -type d | sort) | while IFS= read -r path; do
        mdir -b -i "$live" "::$path" >/dev/null 2>&1 || mmd -i "$live" "::$path"
      done
      # All that is new in one folder at once.
      group=() at_folder=''
      while IFS= read -r path; do
        if [ "${path%/*}" != "$at_folder" ]; then write_group; at_folder=${path%/*}; fi
        group+=("$source/$path")
      done < <({ (cd "$source" && find . -type f -newer "$work/since"); comm -13 "$work/before" "$work/after"; } | sort -u)
      write_group
    fi
    if [ $((state % 2)) = 1 ]; then
      (while :; do mcopy -D o -i "$live" "$source/holes/large" "::load $state"; mdel -i "$live" "::load $state"; done) >/dev/null 2>&1 &
      until mdir -i "$live" -b ::/ | grep -q "load $state"; do :; done
      copy "$live" "$work/state$state"
      kill $!; wait $! 2>/dev/null || true
    else
      copy "$live" "$work/state$state"
    fi
    mkdir "$folder/$state" "$at/$state"
    mcopy -i "$work/state$state" -s -n -m ::/ "$at/$state"
    "$here/list.py" "$at/$state" > "$folder/$state/truth.jsonl"
    rm -rf "${at:?}/$state"
    assemble "$work/state$state" "$folder/$state"
  done
}

# XFS of version 4, which kernels have given up: mkfs puts a tree into it, and the tree is what has to be found.
described_states() {
  local state source=$work/source
  mkdir "$source"
  "$here/fill.py" fill "$source" "$files"
  rm -rf "$source"/odd\ names "$source/holes/sparse"
  for state in 0 1 2 3 4 5; do
    if [ "$state" != 0 ]; then
      : > "$source/holes/sparse"
      "$here/fill.py" change "$source" "$state"
      rm "$source/holes/sparse"
    fi
    rm -rf "$work/proto" "$work/tree"
    cp -a "$source" "$work/tree"
    # What a description has no words for.
    rm -f "$work/tree/nodes/socket"; chmod -t "$work/tree/nodes/mode 1777"
    "$here/proto.py" "$work/tree" > "$work/proto"
    rm -f "$work/state$state"
    truncate -s ${size}M "$work/state$state"
    # shellcheck disable=SC2086
    mkfs.xfs -q --unsupported -f $mkfs -p "$work/proto" "$work/state$state" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
    mkdir "$folder/$state"
    "$here/list.py" "$work/tree" > "$folder/$state/truth.jsonl"
    assemble "$work/state$state" "$folder/$state"
  done
}

# Whether this kernel can mount a file system that ignores case.
kernel_folds_case() {
  local can=yes
  truncate -s 16M "$work/trial"
  mkfs.ext4 -q -O casefold "$work/trial"
  mount -o loop "$work/trial" "$at" 2>/dev/null || can=no
  [ $can = no ] || umount "$at"
  rm "$work/trial"
  [ $can = yes ]
}

make() {
  name=$1 folder=$(realpath "$2")
  spec "$name"
  work=$folder/outer at=$folder/mounted devices=()
  trap 'detach 2>/dev/null || true' EXIT
  mkdir -p "$work" "$at"
  # Inside of a file system that copies a file at one moment.
  truncate -s 6G "$folder/outer.img"
  mkfs.xfs -q -m reflink=1 "$folder/outer.img"
  mount -o loop,noatime "$folder/outer.img" "$work"
  live=$work/live
  [ -z "$layers" ] || make_group
  case $name in
    ext4-casefold) if kernel_folds_case; then mounted_states; else zstd -dc --long=31 "$here/casefold.tar.zst" | tar -C "$folder" -x; fi ;;
    fat*) fat_states ;;
    xfs-v4) described_states ;;
    *) mounted_states ;;
  esac
  umount "$work"
  rm -r "$folder/outer.img" "$work" "$at"
}

case ${1:-} in
  list) printf '%s\n' "${names[@]}" ;;
  make)
    : "${2:?which name}" "${3:?which folder}"
    if [ "${SENDENSE_UNSHARED:-}" != 1 ]; then
      exec env SENDENSE_UNSHARED=1 unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$0" "$@"
    fi
    make "$2" "$3" ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
