#!/bin/bash
# Makes a small system of its own for machines under QEMU, out of Debian's packages.
#
#   guest.sh FOLDER      writes FOLDER/kernel and FOLDER/initrd
#
# The kernel is Debian's for clouds, the rest is busybox. Nothing is installed: the two packages are
# fetched and unpacked, which CI=true or REAL=1 must allow. The guest lets go of the devices that
# are taken from it, switches itself off when the power button is pressed, and writes a line like
# this to its serial console each second:
#   guest: 1 nics aa:00:01:02:03:04
set -euo pipefail
export LC_ALL=C

[ $# = 1 ] || { echo "usage: guest.sh FOLDER" >&2; exit 2; }
folder=$1
[ ! -s "$folder/initrd" ] || exit 0
if [ "${CI:-}" != true ] && [ "${REAL:-}" != 1 ]; then
    echo "CI=true or REAL=1 lets me fetch the guest's packages" >&2
    exit 1
fi
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# The name of the kernel that the package without a version stands for.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}
fetch() {
    local kernel
    kernel=$(kernel_package)
    [ -n "$kernel" ] && apt-get -qq -o APT::Sandbox::User=root download busybox-static "$kernel"
}
# Other tests may install something at the same moment; see packages.py.
exec 9>/run/cyclades-tx-packages.lock
flock --timeout 240 9
fetch || { apt-get -qq update && fetch; } || { echo "the guest's packages are not to be had" >&2; exit 1; }

exec 9>&-

# Not the whole of it: that is 300 MB.
dpkg-deb --fsys-tarfile busybox-static_*.deb | tar -x --wildcards '*bin/busybox'
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --wildcards './boot/vmlinuz-*' \
    '*/failover.ko*' '*/net_failover.ko*' '*/virtio_net.ko*' '*/virtio/virtio*.ko*' \
    '*/button.ko*' '*/evdev.ko*'
busybox=$(find . -name busybox -type f | head -n 1)
mkdir -p root/bin root/modules
install -m 755 "$busybox" root/bin/busybox
find . -path ./root -prune -o -name '*.ko*' -exec cp {} root/modules \;
for module in root/modules/*.ko.xz; do [ ! -e "$module" ] || unxz "$module"; done

cat >root/init <<'INIT'
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev
$busybox mount -t proc none /proc
$busybox mount -t sysfs none /sys
$busybox mount -t devtmpfs none /dev
$busybox dmesg -n 1
# Some need others; what is refused the first time has what it needs in the end.
for turn in 1 2 3 4 5; do
    for module in /modules/*.ko; do $busybox insmod $module 2>/dev/null; done
done
power_button() {
    # Whatever it says, it was pressed.
    $busybox dd if=$1 of=/dev/null bs=24 count=1 2>/dev/null
    $busybox poweroff -f
}
for device in /sys/class/input/event*; do
    case $($busybox cat $device/device/name) in
        *'Power Button'*) power_button /dev/input/${device##*/} & ;;
    esac
done
while :; do
    count=0 addresses=
    for nic in /sys/class/net/*/address; do
        case $nic in /sys/class/net/lo/*) continue ;; esac
        address=$($busybox cat $nic 2>/dev/null) || continue
        count=$((count + 1)) addresses="$addresses $address"
    done
    echo "guest: $count nics$addresses" >/dev/ttyS0
    $busybox sleep 1
done
INIT
chmod 755 root/init
# Not compressed: an emulated processor would take longer for it than for reading more.
(cd root && find . | ./bin/busybox cpio -o -H newc 2>/dev/null) >initrd
install -m 644 boot/vmlinuz-* "$folder/kernel"
install -m 644 initrd "$folder/initrd.new"
mv "$folder/initrd.new" "$folder/initrd"
