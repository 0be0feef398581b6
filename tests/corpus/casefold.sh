#!/usr/bin/env bash
# Makes casefold.tar.zst: the six states of ext4-casefold, for kernels that can't mount it. They are made by build.sh in a
# virtual machine with Debian's kernel, which can. Run by hand, as root; takes some minutes, as the machine is emulated.
#
#   tests/corpus/casefold.sh
#
# Needs qemu-system-x86, mmdebstrap and linux-image-amd64 (kernel, initrd and modules of this machine are used).
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d "${TMPDIR:-/var/tmp}/casefold.XXXXXX")
trap 'rm -rf "$work"' EXIT
kernel=$(find /boot -name 'vmlinuz-*-amd64' | sort -V | tail -n 1)
version=${kernel#*vmlinuz-}

root=$work/root
mmdebstrap --quiet --variant=apt --include=python3,e2fsprogs,xfsprogs,kmod,procps,mount bookworm "$root"
mkdir -p "$root/corpus" "$root/lib/modules"
cp -a "/lib/modules/$version" "$root/lib/modules/"
cp "$here"/*.sh "$here"/*.py "$root/corpus/"
cat > "$root/start" <<'EOF'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin CORPUS_SMALL=1
mount -t proc proc /proc; mountpoint -q /sys || mount -t sysfs sys /sys
mkdir -p /dev/shm; mount -t tmpfs tmp /tmp
modprobe -a loop xfs ext4 virtio_blk
mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && mkdir /mnt/out && /corpus/build.sh make ext4-casefold /mnt/out && umount /mnt && echo MADE
sync
echo o > /proc/sysrq-trigger
sleep 60
EOF
chmod +x "$root/start"
truncate -s 3G "$work/system.img"
mke2fs -q -t ext4 -d "$root" "$work/system.img"
truncate -s 8G "$work/out.img"
qemu-system-x86_64 -nodefaults -display none -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -no-reboot \
  -kernel "$kernel" -initrd "/boot/initrd.img-$version" -append "root=/dev/vda rw init=/start console=ttyS0 panic=1 quiet" \
  -drive "file=$work/system.img,format=raw,if=virtio,cache=unsafe" -drive "file=$work/out.img,format=raw,if=virtio,cache=unsafe" \
  -device virtio-rng-pci -serial stdio | tee "$work/log"
grep -q '^MADE' "$work/log"
mkdir "$work/mnt"
mount -o loop,ro "$work/out.img" "$work/mnt"
tar -C "$work/mnt/out" --sparse --sort=name -c 0 1 2 3 4 5 | zstd -19 --long=31 -q -f -o "$here/casefold.tar.zst"
umount "$work/mnt"
ls -l "$here/casefold.tar.zst"
