#!/bin/bash
# Makes the seed images beside this file, which the targets of guest file systems change byte by byte: small, with every
# feature that a reader decodes, clean and copied while mounted with a journal or log that is not empty. Needs root.
#
# Not made here: ntfs-log (what `dirty` of src/guestfs/tests/ntfs/log.rs writes, because no program leaves a dirty
# $LogFile behind), and what the target `layers` takes from src/guestfs/tests/layers.
#
# usage: make.sh [NAME…]     all of them, or those whose names begin with one of these
set -eu
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cleanup() {
  umount -q "$work/mnt" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/mnt"
cd "$work"
wanted=("$@")

want() {
  [ "${#wanted[@]}" -gt 0 ] || return 0
  local name
  for name in "${wanted[@]}"; do
    case $1 in "$name"*) return 0 ;; esac
  done
  return 1
}

# keep NAME FILE…: the files one after another, compressed.
keep() {
  local name=$1
  shift
  cat "$@" | zstd -q -19 -f -o "$here/$name.zst"
  rm -f "$@"
}

# Files of all forms; text, so that they compress.
fill() {
  mkdir -p a/b/c empty
  : > nothing
  echo hello > a/hello
  seq 4000 > a/text
  ln a/hello a/b/linked
  ln -s hello a/link
  ln -s "$(printf '/%0900d' 1)" long-link
  mkfifo pipe
  mknod disk b 259 70000
  truncate -s 3M hole
  echo end >> hole
  printf raw > "$(printf 'raw\377\376')"
  setfattr -n user.short -v value a/hello
  setfattr -n user.long -v "$(printf 'x%.0s' $(seq 900))" a/text
  setfattr -n user.on-folder -v yes a
  setfacl -m u:1234:rw,g:77:r a/text
  setfacl -d -m u:1234:rwx a/b
  local n
  for n in $(seq 12); do echo "$n" > "a/b/c/a name of file $n"; done
}

# A file of many extents.
fragments() {
  local n
  for n in $(seq "$1"); do printf x | dd of=fragments bs=1 seek=$((n * 65536)) conv=notrunc status=none; done
}

names() {
  mkdir names
  : > names/first
  local n
  for n in $(seq "$1"); do ln names/first "names/$(printf '%0120d' "$n")"; done
}

# ext NAME SIZE MKFS: filled, and unmounted.
ext() {
  want "$1" || return 0
  truncate -s "$2" image
  # shellcheck disable=SC2086
  $3 -q -F -L label image
  mount -o loop,noatime image mnt
  (cd mnt && fill && fragments 60 && names "$4")
  umount mnt
  keep "$1" image
}

# ext_dirty NAME SIZE MKFS: copied with something in its journal.
ext_dirty() {
  want "$1" || return 0
  truncate -s "$2" image
  # shellcheck disable=SC2086
  $3 -q -F image
  mount -o loop,noatime,commit=900 image mnt
  (
    cd mnt
    fill
    names 20
    sync -f .
    mv a/hello a/moved
    rm a/link names/first
    mkdir new
    seq 300 > new/file
    sync -f .
    rm -r names
    sync -f .
    for n in $(seq 10); do echo "$n" > "new/$n"; sync "new/$n"; done
    rm new/3
    ln new/4 new/four
    mv new/5 new/five
    sync new/four
  )
  cp --sparse=always image copy
  umount mnt
  rm image
  keep "$1" copy
}

ext ext-4k 24M "mkfs.ext4 -b 4096 -I 256 -N 256 -O inline_data,ea_inode,large_dir,metadata_csum_seed -J size=4" 40
ext ext-1k 8M "mkfs.ext4 -b 1024 -N 256 -O ^has_journal,metadata_csum,meta_bg,^resize_inode" 150
ext ext-2 4M "mkfs.ext2 -b 1024 -I 128 -N 128" 60
ext ext-bigalloc 8M "mkfs.ext4 -b 1024 -N 256 -O ^has_journal,bigalloc,^metadata_csum -C 4096" 30
if want ext-casefold; then
  truncate -s 8M image
  mkfs.ext4 -q -F -b 1024 -N 128 -O casefold,^has_journal image
  # `chattr +F` in the kernel's own words, which need no casefold of this kernel.
  mkdir tree
  mkdir tree/Folded
  for n in $(seq 30); do echo "$n" > "tree/Folded/NAME $n"; done
  mkfs.ext4 -q -F -b 1024 -N 128 -O casefold,^has_journal -d tree image
  debugfs -w -R 'set_inode_field /Folded flags 0x40080000' image 2> /dev/null
  rm -r tree
  keep ext-casefold image
fi
ext_dirty ext-dirty4 24M "mkfs.ext4 -b 4096 -N 256 -J size=4,fast_commit_size=1024 -O fast_commit,metadata_csum"
ext_dirty ext-dirty1k 12M "mkfs.ext4 -b 1024 -N 256 -J size=4 -O metadata_csum"
ext_dirty ext-dirty3 12M "mkfs.ext3 -b 1024 -N 256 -J size=1"

# xfs NAME SIZE OPTIONS NAMES
xfs() {
  want "$1" || return 0
  truncate -s "$2" image
  # shellcheck disable=SC2086
  mkfs.xfs -q --unsupported -f $3 -L label image
  mount -o loop,noatime image mnt
  (
    cd mnt && fill && fragments 200 && names "$4"
    for n in $(seq 60); do setfattr -n "user.$n" -v "$(printf 'x%.0s' $(seq 100))" a/b; done
  )
  umount mnt
  keep "$1" image
}
xfs xfs-5 64M "-l size=13m -m crc=1,reflink=1,rmapbt=1,bigtime=1 -i nrext64=1" 250
xfs xfs-1k 32M "-b size=1024 -l size=5m -m crc=1 -i size=512" 60
if want xfs-4; then
  truncate -s 32M image
  seq 1000 > text
  {
    printf '/dev/null\n0 0\nd--755 0 0\n'
    for set in few:4 block:30 leaf:120; do
      echo "${set%:*} d--755 0 0"
      for n in $(seq "${set#*:}"); do printf '%0100d ---644 0 0 text\n' "$n"; done
      echo '$'
    done
    printf 'link l--777 0 0 %0900d\n$\n' 1
  } > description
  mkfs.xfs -q --unsupported -f -m crc=0 -l size=5m -p description image
  rm text description
  keep xfs-4 image
fi
if want xfs-dirty; then
  truncate -s 64M image
  mkfs.xfs -q --unsupported -f -l size=13m -m reflink=1,rmapbt=1 image
  mount -o loop,noatime image mnt
  (
    cd mnt
    mkdir a b
    for n in $(seq 50); do echo "$n" > "a/$n"; done
    sync -f .
    setfattr -n user.x -v y a/7
    ln -s x a/x
    rm a/9
    cp --reflink=always a/7 a/8
    mkdir c
    truncate -s 10 a/10
    mv a/11 b/eleven
    for n in $(seq 60); do ln a/12 "b/$(printf '%0100d' "$n")"; done
    sync -f .
  )
  xfs_io -x -c 'shutdown -f' mnt
  umount mnt
  keep xfs-dirty image
fi


if want ntfs-small; then
  truncate -s 3M image
  mkntfs -q -F -Q -p 0 -H 0 -S 0 -c 512 -C -L label image > /dev/null 2>&1
  ntfs-3g -o compression,noatime image mnt
  (
    cd mnt
    mkdir -p d/e many
    for n in $(seq 60); do echo "$n" > "many/a rather long name of a file $n"; done
    seq 4000 > d/packed
    head -c 30000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 > d/stored 2> /dev/null
    truncate -s 300000 d/e/hole
    echo x >> d/e/hole
    ln -s d link
    setfattr -n user.a -v b d
    ln d/packed d/e/again
    echo small > small
    for n in $(seq 120); do setfattr -n "user.stream$n" -v "$n" small; done
    for n in $(seq 30); do printf x | dd of=d/fragments bs=1 seek=$((n * 1024)) conv=notrunc status=none; done
  )
  umount mnt
  # What the Windows Overlay Filter would have compressed.
  ntfs-3g -o streams_interface=windows image mnt
  (
    cd mnt
    for name in lzx:01 xpress:00 xpress16k:03; do
      file=${name%:*}
      truncate -s 40000 "$file"
      { printf '\50\0\0\0'; head -c 9000 /dev/zero | openssl enc -aes-128-ctr -K 01 -iv 00 2> /dev/null; } > "$file:WofCompressedData"
      setfattr -h -n system.ntfs_reparse_data -v "0x170000801000000001000000020000000100000001000000" "$file"
      [ "${name#*:}" = 01 ] || setfattr -h -n system.ntfs_reparse_data -v "0x1700008010000000010000000200000001000000${name#*:}000000" "$file"
    done
    echo a > streams
    echo b > streams:second
    echo c > "streams:third stream"
  )
  umount mnt
  keep ntfs-small image
fi
if want ntfs-4k; then
  truncate -s 6M image
  mkntfs -q -F -Q -p 0 -H 0 -S 0 -c 4096 -I -L label image > /dev/null 2>&1
  ntfs-3g -o noatime image mnt
  (
    cd mnt
    mkdir many
    for n in $(seq 200); do : > "many/a rather long name of a file $n"; done
    for n in $(seq 2 2 200); do rm "many/a rather long name of a file $n"; done
    seq 9000 > text
    for n in $(seq 40); do printf x | dd of=fragments bs=1 seek=$((n * 16384)) conv=notrunc status=none; done
  )
  umount mnt
  keep ntfs-4k image
fi

# btrfs NAME DEVICES SIZE OPTIONS MOUNT
btrfs_seed() {
  want "$1" || return 0
  local devices=() loops=() n more=""
  for n in $(seq "$2"); do
    truncate -s "$3" "device$n"
    devices+=("device$n")
  done
  # shellcheck disable=SC2086
  mkfs.btrfs -q -K -L label $4 "${devices[@]}"
  for n in "${devices[@]}"; do loops+=("$(losetup -f --show "$n")"); done
  for n in "${loops[@]}"; do more+=",device=$n"; done
  mount -o "noatime,commit=900$5$more" "${loops[0]}" mnt
  (
    cd mnt
    fill
    fragments 8
    fallocate -l 100000 allocated
    btrfs -q subvolume create sub
    echo in > sub/in
    btrfs -q subvolume snapshot sub snap
    sync -f .
    rm a/b/linked
    mv a/link a/renamed
    seq 500 > a/text
    ln a/text three
    sync a a/text three
    echo n > sub/n
    sync sub/n
  )
  for n in "${devices[@]}"; do cp --sparse=always "$n" "copy-$n"; done
  umount mnt
  for n in "${loops[@]}"; do
    btrfs -q device scan --forget "$n" || true
    losetup -d "$n"
  done
  rm "${devices[@]}"
  keep "$1" "${devices[@]/#/copy-}"
}
btrfs_seed btrfs-one 1 40M "-M -n 4096" ",compress=zstd"
btrfs_seed btrfs-lzo 1 128M "-n 16384 -m dup" ",compress-force=lzo"
btrfs_seed btrfs-two 2 128M "-n 4096 -m raid1 -d raid0" ",compress-force=zlib"

# fat NAME SIZE OPTIONS
fat() {
  want "$1" || return 0
  truncate -s "$2" image
  # shellcheck disable=SC2086
  mkfs.fat -n 'TEST LABEL' $3 image > /dev/null
  mkdir -p tree/Deep/er/still "tree/many files" tree/empty
  for n in $(seq 60); do echo "number $n" > "tree/many files/file number $n of them.text"; done
  echo unicode > 'tree/Größe 漢字.txt'
  seq 8000 > tree/Deep/er/text
  : > tree/nothing
  seq 3000 > tree/gap
  (export MTOOLS_SKIP_CHECK=1 TZ=UTC; mcopy -i image tree/gap ::/gap1; mcopy -i image tree/gap ::/gap2; mdel -i image ::/gap1
    mcopy -i image -s -n -m tree/* ::/)
  rm -r tree
  keep "$1" image
}
fat fat-12 1M "-F 12"
fat fat-16 5M "-F 16 -s 1"
fat fat-32 34M "-F 32 -s 1"

if want exfat; then
  truncate -s 4M image
  mkfs.exfat -c 4K -L 'Größe' image > /dev/null
  loop=$(losetup -f --show image)
  mount.exfat-fuse "$loop" mnt
  (
    cd mnt
    mkdir -p Deep/er/still many
    : > nothing
    for n in $(seq 60); do echo "number $n" > "many/file number $n of them.text"; done
    for n in 1 15 16 30 31 255; do echo "$n" > "Deep/$(head -c "$n" /dev/zero | tr '\0' x)"; done
    echo unicode > 'Größe 漢字 😀.txt'
    for n in $(seq 20); do seq 1000 > "gap$n"; done
    for n in $(seq 1 2 20); do rm "gap$n"; done
    seq 9000 > Deep/er/spread
    truncate -s 60000 Deep/er/spread
  )
  umount mnt
  losetup -d "$loop"
  keep exfat image
fi

if want iso; then
  mkdir -p tree/Deep/er "tree/many files"
  (
    cd tree
    for n in $(seq 40); do echo "number $n" > "many files/file number $n of them.text"; done
    for n in 30 31 60 100; do echo "$n" > "Deep/$(head -c "$n" /dev/zero | tr '\0' x)"; done
    echo unicode > 'Größe 漢字.txt'
    seq 9000 > Deep/er/text
    ln -s target link
    ln -s ../a/./b/.. dots-link
    ln -s "$(printf '/%090d/x' 1 2 3 4)" long-link
    mknod block b 8 1
    mkfifo pipe
  )
  genisoimage -quiet -R -J -joliet-long -V BOTH -o image tree
  keep iso-both image
  genisoimage -quiet -V PLAIN -o image tree 2> /dev/null
  keep iso-plain image
  genisoimage -quiet -udf -R -V UDF -o image tree 2> /dev/null
  keep iso-udf image
  xorriso -report_about SORRY -outdev image -volid ROCK -map tree / -set_filter_r --zisofs /Deep -- -commit 2> /dev/null
  keep iso-zisofs image
  rm -r tree
fi

if want layers-gpt; then
  truncate -s 4M image
  printf 'label: gpt\nstart=64,size=1000,name=first\nstart=2048,size=2048,name=second\nstart=5000,size=8\n' | sfdisk -q image
  keep layers-gpt image
fi
if want layers-mbr; then
  truncate -s 4M image
  printf 'label: dos\nstart=64,size=1000\nstart=2048,size=5000,type=5\nstart=2100,size=100\nstart=2300,size=200,type=82\nstart=2600,size=300\n' | sfdisk -q image
  mkfs.fat -F 12 -s 1 --offset 64 image 500 > /dev/null
  mkswap -q --offset $((2300 * 512)) image 2> /dev/null || true
  keep layers-mbr image
fi
if want layers-luks; then
  echo -n key > key
  # luks NAME OPTIONS: behind the one key slot, the noise that it was wiped with is left out.
  luks() {
    truncate -s 17M image
    # shellcheck disable=SC2086
    cryptsetup luksFormat -q --type luks2 --luks2-metadata-size 16k --luks2-keyslots-size 256k --key-file key $2 image
    truncate -s "$3" image
    truncate -s 1088K image
    keep "$1" image
  }
  luks layers-luks2 "--key-size 128 --cipher aes-cbc-essiv:sha256 --pbkdf pbkdf2 --pbkdf-force-iterations 1000" 96K
  luks layers-luks2-argon "--key-size 128 --cipher aes-cbc-essiv:sha256 --pbkdf argon2id --pbkdf-memory 32 --pbkdf-force-iterations 4 --pbkdf-parallel 1" 96K
  truncate -s 17M image
  cryptsetup luksFormat -q --type luks1 --key-size 128 --cipher aes-cbc-essiv:sha256 --pbkdf-force-iterations 1000 --key-file key image
  truncate -s 68K image
  truncate -s 2112K image
  keep layers-luks1 image
  rm key
fi

if want system-linux; then
  mkdir -p tree/etc tree/usr/lib tree/home tree/boot tree/bin tree/etc/mdadm
  # Each file is one block of its own, which the target fills.
  for file in fstab crypttab os-release mdadm/mdadm.conf; do head -c 4096 /dev/zero | tr '\0' '#' > "tree/etc/$file"; done
  truncate -s 256K image
  mkfs.ext2 -q -F -b 4096 -I 128 -N 32 -U 11111111-2222-3333-4444-555555555555 -d tree image
  rm -r tree
  keep system-linux image
fi

if want system-windows; then
  # A hive with nothing but a root key and its security descriptor, to which hivexsh adds others.
  python3 - <<'PY'
import struct
def cell(content):
    length = (len(content) + 4 + 7) // 8 * 8
    return (struct.pack("<i", -length) + content).ljust(length, b"\0")
key = bytearray(76)
key[:4] = b"nk\x2c\0"
for at, value in (16, 0xffffffff), (28, 0xffffffff), (32, 0xffffffff), (40, 0xffffffff), (44, 120), (48, 0xffffffff):
    struct.pack_into("<I", key, at, value)
key[72] = 4
cells = b"hbin\0\0\0\0\0\x10\0\0".ljust(32, b"\0") + cell(bytes(key) + b"ROOT")
cells += cell(b"sk\0\0" + struct.pack("<9I", 120, 120, 1, 20, 0x80040001, 0, 0, 0, 0))
cells += struct.pack("<I", 4096 - len(cells))
head = bytearray(4096)
head[:4] = b"regf"
for at, value in (4, 1), (8, 1), (20, 1), (24, 3), (32, 1), (36, 32), (40, 4096), (44, 1):
    struct.pack_into("<I", head, at, value)
total = 0
for word in struct.unpack("<127I", head[:508]):
    total ^= word
struct.pack_into("<I", head, 508, total)
for name in "SYSTEM", "SOFTWARE":
    open(name, "wb").write(bytes(head) + cells.ljust(4096, b"\0"))
PY
  # hive NAME COMMAND…
  hive() {
    local file=$1
    shift
    printf '%s\n' "$@" commit > commands
    hivexsh -w -f commands "$file"
  }
  id=44,4d,49,4f,3a,49,44,3a
  hive SYSTEM 'add MountedDevices' 'cd MountedDevices' 'setval 4' '\DosDevices\C:' "hex:3:$id,04,03,02,01,06,05,08,07,09,0a,0b,0c,0d,0e,0f,10" \
    '\DosDevices\Q:' 'hex:3:01,02,03,04,00,00,10,00,00,00,00,00' '\??\Volume{77}' "hex:3:$id,04,03,02,01,06,05,08,07,09,0a,0b,0c,0d,0e,0f,10" \
    'Empty' 'hex:3:'
  many=()
  for n in $(seq 40); do many+=("cd \\" "add Key$n" "cd Key$n" 'setval 2' Number "dword:$n" Text "string:n $n"); done
  hive SOFTWARE 'add Microsoft' 'cd Microsoft' 'add Windows NT' 'cd Windows NT' 'add CurrentVersion' 'cd CurrentVersion' 'setval 3' \
    ProductName 'string:Windows Server 2022 Standard' CurrentBuildNumber string:20348 EditionID string:ServerStandard "${many[@]}"
  truncate -s 4M image part
  mkntfs -q -F -Q -p 0 -H 0 -S 0 -c 4096 -L label part > /dev/null 2>&1
  ntfs-3g part mnt
  mkdir -p mnt/Windows/System32/config "mnt/Program Files" mnt/Users/me
  cp SYSTEM SOFTWARE mnt/Windows/System32/config
  umount mnt
  truncate -s 5M image
  printf 'label: gpt\nfirst-lba: 64\nstart=256,size=8192,type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7,uuid=01020304-0506-0708-090A-0B0C0D0E0F10\n' | sfdisk -q image
  dd if=part of=image bs=4096 seek=32 conv=notrunc status=none
  rm part
  keep system-windows image
  keep system-hive SOFTWARE
fi
