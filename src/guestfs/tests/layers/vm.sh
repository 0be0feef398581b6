#!/bin/bash
# Runs a shell script as root inside of a small machine with Debian's own kernel, for what this machine's kernel lacks:
# md, device-mapper, vfat, exfat, ntfs3. The fixtures beside this file were made with it (see fixtures.sh); tests need none of it.
#
# usage: vm.sh SCRIPT [DISK…]
#   The disks are /dev/vda, /dev/vdb, … inside. The programs are those of this machine, whose root is seen read-only.
#   KERNEL_DIR holds boot/vmlinuz-* and lib/modules/*, as `dpkg-deb -x linux-image-*-amd64.deb KERNEL_DIR` makes it.
# needs: qemu-system-x86 busybox-static cpio kmod, and /dev/kvm (or ACCEL=tcg, slower). Prints what the script prints; fails where it fails.
set -eu
export PATH=$PATH:/usr/sbin:/sbin
script=$1
shift
kernel=$(echo "${KERNEL_DIR:?}"/boot/vmlinuz-*)
version=${kernel##*/vmlinuz-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,proc,sys,host} "$root/lib/modules/$version"
cp "$(command -v busybox)" "$root/bin/busybox"
modules="virtio_pci virtio_blk 9pnet_virtio 9p raid0 raid1 raid10 raid456 linear dm-crypt dm-mod dm-snapshot dm-thin-pool
  dm-mirror dm-raid dm-integrity xts cbc essiv serpent_generic twofish_generic aes_generic aesni_intel sha256_generic
  sha512_generic vfat exfat ntfs3 nls_ascii nls_cp437 nls_utf8 nls_iso8859-1 isofs udf ext4 xfs btrfs loop"
for module in $modules; do
  modprobe -d "$KERNEL_DIR" -S "$version" --show-depends "$module" 2>/dev/null || true
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
  cp "$file" "$root/lib/modules/$version/"
  echo "/lib/modules/$version/${file##*/}"
done > "$root/order"
cp "$script" "$root/script"
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
for file in $(/bin/busybox cat /order); do /bin/busybox insmod "$file" 2>/dev/null; done
/bin/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144 host /host
for dir in proc sys; do /bin/busybox mount -o bind "/$dir" "/host/$dir"; done
/bin/busybox mount -t devtmpfs none /host/dev
for dir in tmp run mnt etc/lvm; do /bin/busybox mount -t tmpfs none "/host/$dir"; done
/bin/busybox mkdir -p /host/run/lock /host/run/cryptsetup /host/run/lvm /host/run/mdadm
/bin/busybox cp /script /host/tmp/script
/bin/busybox chroot /host /bin/bash -e /tmp/script
echo "result: $?"
/bin/busybox sync
/bin/busybox poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) > "$work/initrd"
drives=()
for disk in "$@"; do drives+=(-drive "file=$disk,if=virtio,format=raw,cache=unsafe"); done
qemu-system-x86_64 -accel "${ACCEL:-kvm}" -cpu max -m 2048 -smp 2 -nographic -no-reboot -net none -vga none \
  -kernel "$kernel" -initrd "$work/initrd" -append "console=ttyS0 panic=-1 loglevel=3" \
  -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=host,mount_tag=host \
  "${drives[@]}" < /dev/null | tr -d '\r' | tee "$work/out"
grep -q '^result: 0$' "$work/out"
