#!/usr/bin/env bash
# A Debian system on LVM and ext4 inside of a GPT disk, and six compressed points of it with real changes between them.
# What benches that look into backups measure with; made once, and found again by later runs.
#
#   benches/guest.sh FOLDER     FOLDER/state is the state folder, the VM is "debian", FOLDER/disk.raw its disk
#
# Needs root (loop devices, mmdebstrap) and Debian's packages; no device mapper: the logical volume is one piece, so its
# bytes are reached through a loop device with an offset.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p "${1:?which folder}"
folder=$(realpath "$1")
ctl=$(realpath "$(dirname "$0")/..")/target/release/sendense-ctl
disk=$folder/disk.raw
[ ! -e "$folder/ready" ] || { echo "$folder is ready"; exit 0; }
for program in mmdebstrap sgdisk lvcreate mkfs.ext4; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
[ -x "$ctl" ] || { echo "$ctl is missing: cargo build --release" >&2; exit 1; }
# Mounts are this process's own, and go away with it.
if [ "${SENDENSE_UNSHARED:-}" != 1 ]; then
  exec env SENDENSE_UNSHARED=1 unshare --mount --propagation private "$0" "$@"
fi
rm -rf "$folder/state" "$disk"
root=$folder/root
loops=()
clean() {
  umount -R "$root" 2>/dev/null || true
  for loop in "${loops[@]}"; do losetup -d "$loop" 2>/dev/null || true; done
}
trap clean EXIT

mib=$((1 << 20))
truncate -s 4G "$disk"
sgdisk -n 1:0:+256M -c 1:boot -n 2:0:0 -t 2:8e00 "$disk" >/dev/null
first() { sgdisk -i "$1" "$disk" | sed -n 's/^First sector: \([0-9]*\).*/\1/p'; }
attach() { losetup -f --show -o "$1" --sizelimit "$2" "$disk"; }
boot=$(attach $(($(first 1) * 512)) $((256 * mib))); loops+=("$boot")
start=$(($(first 2) * 512))
physical=$(attach $start $((3800 * mib))); loops+=("$physical")
lvm() {
  local command=$1
  shift
  "$command" --driverloaded n --config "devices{use_devicesfile=0 filter=[\"a|^$physical\$|\",\"r|.*|\"]}
    activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0} global{event_activation=0}" "$@" 2>/dev/null
}
lvm pvcreate "$physical" >/dev/null
lvm vgcreate guest "$physical" >/dev/null
lvm lvcreate -an -Zn -Wn -y -n root -L 3584M guest >/dev/null
at=$(lvm pvs --noheadings --units b --nosuffix -o pe_start "$physical" | tr -d ' ')
logical=$(attach $((start + at)) $((3584 * mib))); loops+=("$logical")
mkfs.ext4 -q -L root "$logical"
mkfs.ext4 -q -L boot "$boot"
mkdir -p "$root"

enter() { mount "$logical" "$root"; mkdir -p "$root/boot"; mount "$boot" "$root/boot"; }
leave() { sync -f "$root"; umount -R "$root"; }
inside() {
  mount --bind /proc "$root/proc"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" "$@" >/dev/null
  umount "$root/proc"
}
point() {
  SENDENSE_HOME=$folder/state "$ctl" backup start --vm debian --compress --quiet --type "$1" --source "$disk"
}

enter
mmdebstrap --quiet --variant=important --mode=root bookworm | tar -C "$root" --xattrs -x
echo debian > "$root/etc/hostname"
printf '/dev/mapper/guest-root / ext4 errors=remount-ro 0 1\nUUID=%s /boot ext4 defaults 0 2\n' \
  "$(blkid -p -o value -s UUID "$boot")" > "$root/etc/fstab"
leave
point full
day=0
for package in curl rsync nginx-light python3-minimal git; do
  day=$((day + 1))
  enter
  inside apt-get update -qq
  inside apt-get install -y -qq --no-install-recommends "$package"
  journalctl --no-pager -n 2000 2>/dev/null >> "$root/var/log/messages" || seq 20000 >> "$root/var/log/messages"
  echo "day $day" > "$root/etc/motd"
  leave
  point incremental
done
touch "$folder/ready"
