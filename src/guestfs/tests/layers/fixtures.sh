#!/bin/bash
# Makes the fixtures beside this file: disks of md arrays and volume groups, written through the kernel's own drivers in
# the machine of vm.sh (KERNEL_DIR and ACCEL as there). Each fixture is its disks one after another, compressed.
# Every 4096 bytes of an array or logical volume begin with its name and the number of those 4096 bytes.
#
# usage: fixtures.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# name and the sizes of its disks in KiB
sets="md-raid0-original:2048,3072,4096 md-raid0-alternate:2048,3072,4096 md-linear:2048,3072 md-raid1-stale:2048,2048
md-raid1-0.90:2048,2048 md-linear-0.90:2048,2048 md-raid5:2048,2048,2048 md-raid10:2048,2048 md-raid1-lvm:8192 md-raid1-parts:4096,4096
lvm:24576,24576"
disks=()
for set in $sets; do
  for size in $(echo "${set#*:}" | tr , ' '); do
    truncate -s "${size}K" "disk${#disks[@]}"
    disks+=("disk${#disks[@]}")
  done
done
cat > guest <<'GUEST'
export PATH=$PATH:/usr/sbin:/sbin PYTHONDONTWRITEBYTECODE=1
# fill DEVICE NAME [STEP]
fill() { python3 - "$@" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.lseek(fd, 0, 2)
for n in range(size // 4096):
    os.pwrite(fd, b"%s %08d" % (sys.argv[2].encode(), n), n * 4096)
os.fsync(fd)
print("size", sys.argv[2], size)
PY
}
make() { local md=$1; shift; yes | mdadm --create "$md" --run --assume-clean "$@" 2>&1 | grep -v -e continue -e array -e size || true; }
make /dev/md0 -l0 -n3 -c4 -e1.2 --data-offset=64 --layout=original /dev/vda /dev/vdb /dev/vdc
fill /dev/md0 original
make /dev/md1 -l0 -n3 -c4 -e1.2 --data-offset=64 --layout=alternate /dev/vdd /dev/vde /dev/vdf
fill /dev/md1 alternate
make /dev/md2 -l linear -n2 -e1.2 --data-offset=64 /dev/vdg /dev/vdh
fill /dev/md2 linear
make /dev/md3 -l1 -n2 -e1.0 --bitmap=none /dev/vdi /dev/vdj
fill /dev/md3 stale
mdadm /dev/md3 --fail /dev/vdi 2>&1
fill /dev/md3 newer
make /dev/md4 -l1 -n2 -e0.90 --bitmap=none /dev/vdk /dev/vdl
fill /dev/md4 old
make /dev/md5 -l linear -n2 -e0.90 /dev/vdm /dev/vdn
fill /dev/md5 oldlinear
make /dev/md6 -l5 -n3 -c4 -e1.2 --data-offset=64 --bitmap=none /dev/vdo /dev/vdp /dev/vdq
make /dev/md7 -l10 -n2 -c4 -e1.2 --data-offset=64 --bitmap=none /dev/vdr /dev/vds
# A group over a mirror that lacks its other leg.
make /dev/md8 -l1 -n2 -e1.1 --data-offset=64 --bitmap=none /dev/vdt missing
export LVM_SUPPRESS_FD_WARNINGS=1
lvm() { command lvm "$@" --config 'devices{use_devicesfile=0} activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0}' -y 2>&1 | grep -v -e Wiping -e 'tmp/lvm' ; return "${PIPESTATUS[0]}"; }
lvm pvcreate --dataalignment 64k --metadatasize 256k /dev/md8
lvm vgcreate -s 64k over-md /dev/md8
lvm lvcreate -Zn -Wn -n deep -L 1M over-md
fill /dev/over-md/deep deep
# A mirror with partitions.
make /dev/md9 -l1 -n2 -e1.0 --bitmap=none /dev/vdu /dev/vdv
printf 'label: gpt\nstart=64,size=1024,name=first\nstart=2048,name=second\n' | sfdisk -q --force --no-reread /dev/md9 2>&1 || true
blockdev --rereadpt /dev/md9 || true
sleep 1
fill /dev/md9p2 parts
# A group over two disks, with everything that LVM can make.
lvm pvcreate --dataalignment 64k --metadatasize 256k /dev/vdw /dev/vdx
lvm vgcreate -s 64k guest /dev/vdw /dev/vdx
lvm lvcreate -Zn -Wn -n first -L 1M guest /dev/vdw
lvm lvcreate -Zn -Wn -n across -l 32 guest /dev/vdw:100-115 /dev/vdx:200-215
lvm lvextend -l +8 guest/across /dev/vdx:10-17
lvm lvcreate -Zn -Wn -n striped -i2 -I16k -l 32 guest
lvm lvextend -l +6 guest/striped
lvm lvcreate -Zn -Wn -n origin -L 1M guest
fill /dev/guest/first first; fill /dev/guest/across across; fill /dev/guest/striped striped; fill /dev/guest/origin before
lvm lvcreate -s -n snap -l 20 guest/origin
fill /dev/guest/origin origin
lvm lvcreate -Zn -Wn --type raid1 -m1 --nosync -n raided -L 1M guest || true
lvm lvcreate -Zn -Wn --type mirror -m1 --mirrorlog core --nosync -n mirrored -L 1M guest || true
lvm lvcreate -Zn --type thin-pool --poolmetadatasize 2M -n pool -L 2M guest || true
lvm lvcreate -V 4M --thinpool guest/pool -n thin || true
lvm lvcreate --type zero -n zeros -l 4 guest || true
lvm lvs -a -o lv_name,segtype,lv_size,devices guest
cat /proc/mdstat
lvm vgchange -an || true
for md in 0 1 2 3 4 5 6 7 8 9; do mdadm --stop /dev/md$md 2>&1 || true; done
sync
GUEST
"$here/vm.sh" guest "${disks[@]}"
n=0
for set in $sets; do
  parts=()
  for _ in $(echo "${set#*:}" | tr , ' '); do
    parts+=("disk$n")
    n=$((n + 1))
  done
  cat "${parts[@]}" | zstd -q -19 -f -o "${OUT:-$here}/${set%%:*}.zst"
done
ls -l "${OUT:-$here}"/*.zst
