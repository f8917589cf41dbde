#!/bin/bash
# Starts a real Ganeti cluster of one node on the loopback.
#
#   ganeti-up.sh [N] [HYPERVISOR]
#
# N = 1..250, default 1: the cluster's number; several live side by side. HYPERVISOR is read at the
# cluster's first start: "fake", whose machines only pretend to run (the default), or "kvm": QEMU
# that emulates the processor, so that it runs wherever there is /dev/net/tun.
# Needs root on Debian. Missing packages are installed only with CI=true or REAL=1.
# May be run again: what is there already is kept, what has stopped is started.
# At the end it prints how to reach the cluster, one "key=value" a line:
#   name address port username password_file certificate command group os hypervisor link bridge
# "bridge" is empty where the machine lets nobody make bridges: use networks of mode routed.
# ganeti-down.sh [N] --purge removes everything again.
set -euo pipefail

usage() { echo "usage: ganeti-up.sh [1..250] [fake|kvm]" >&2; exit 2; }
number=${1:-1}
case $number in '' | *[!0-9]* | 0*) usage ;; esac
[ "$number" -le 250 ] || usage
case ${2:-fake} in fake | kvm) ;; *) usage ;; esac
[ "$(id -u)" = 0 ] || { echo "a real Ganeti needs root" >&2; exit 1; }

export LC_ALL=C DEBIAN_FRONTEND=noninteractive
umask 022

home=/srv/cytx/$number                  # short: socket paths below it have 108 characters
cluster=cy$number.test
node=n1.$cluster
root=$home/$node                        # its last part must be the node's name
cluster_address=127.77.$number.1
node_address=127.77.$number.11
bridge=cytx$number
daemons=/usr/lib/ganeti/daemon-util
qemu=/usr/bin/qemu-system-x86_64
# What the cluster was made with counts, not what is wished now.
hypervisor=$(cat "$home/hypervisor" 2>/dev/null) || hypervisor=${2:-fake}

# Ganeti keeps a node's files below GANETI_ROOTDIR if that is set ("virtual clusters").
as_node() { GANETI_ROOTDIR=$root GANETI_HOSTNAME=$node "$@"; }

install_packages() {
    local missing=
    command -v gnt-cluster >/dev/null || missing="ganeti iproute2"
    [ $hypervisor = fake ] || [ -x $qemu ] || missing="$missing qemu-system-x86 qemu-utils"
    [ -n "$missing" ] || return 0
    if [ "${CI:-}" != true ] && [ "${REAL:-}" != 1 ]; then
        echo "not installed: $missing; CI=true or REAL=1 lets me install it" >&2
        exit 1
    fi
    # Other tests may install something at the same moment; see packages.py.
    exec 9>/run/cyclades-tx-packages.lock
    flock --timeout 240 9
    apt-get update -qq 9>&-
    apt-get install -y -qq --no-install-recommends $missing >/dev/null 9>&-
    exec 9>&-
}

# Other clusters may be using what is replaced: at any moment it is a whole file.
file() { mkdir -p "${1%/*}"; cat >"$1.$$"; chmod "${2:-644}" "$1.$$"; mv -f "$1.$$" "$1"; }
executable() { file "$1" 755; }

# OS definition and allocator are looked for at fixed places, shared by all clusters. One that
# somebody else has put there is left alone.
plugins() {
    local os=/srv/ganeti/os/snf-image script
    if [ ! -e $os ] || [ -e $os/.made-by-cyclades-tx ]; then
        mkdir -p $os
        touch $os/.made-by-cyclades-tx
        # Installs no system, only a boot sector that halts, so that a machine takes no processor
        # time, and the image's name after it. img_id "test:sleep=N" makes it last N seconds,
        # "test:fail" fail; a URL is fetched, and what it gives stands on the disk.
        executable $os/create <<'SCRIPT'
#!/bin/sh
want=$OSP_IMG_ID
if [ "$want" = test:fail ]; then echo 'told to fail' >&2; exit 1; fi
if [ "${want#test:sleep=}" != "$want" ]; then sleep "${want#test:sleep=}"; fi
case $want in
    http://* | https://*)
        # The URL is a secret: it stands in no argument.
        exec /usr/bin/python3 -c '
import os, shutil, urllib.request
with urllib.request.urlopen(os.environ["OSP_IMG_ID"], timeout=60) as image:
    with open(os.environ["DISK_0_PATH"], "r+b") as disk:
        shutil.copyfileobj(image, disk)
' ;;
esac
if [ -f "$DISK_0_PATH" ]; then
    write() { dd of="$DISK_0_PATH" bs=2 seek="$1" conv=notrunc 2>/dev/null; }
    printf '\372\364\353\375' | write 0
    printf '\125\252' | write 255
    printf '%-64.64s' "$want" | write 256
fi
SCRIPT
        for script in export import rename verify; do
            printf '#!/bin/sh\nexit 0\n' | executable $os/$script
        done
        echo 20 | file $os/ganeti_api_version
        echo default | file $os/variants.list
        for script in config_url img_id img_format img_passwd img_properties img_personality; do
            echo "$script (any text)"
        done | file $os/parameters.list
    fi
    # The stock allocator wants a spare node; with one node there is none.
    allocator=/usr/local/lib/ganeti/iallocators/hail-one-node
    if [ ! -e $allocator ]; then
        executable $allocator <<'SCRIPT'
#!/bin/sh
# made by cyclades_tx
exec /usr/lib/ganeti/iallocators/hail --no-capacity-checks "$@"
SCRIPT
    fi
}

# Other clusters may be added or removed at the same moment.
in_hosts() { (flock 9; grep -qxF "$1 $2" /etc/hosts || echo "$1 $2" >>/etc/hosts) 9>/run/cyclades-tx-hosts.lock; }

node_tree() {
    mkdir -p "$root"/etc/default "$root"/etc/ganeti/scripts "$root"/var/{lock,lib/ganeti,run/ganeti} \
        "$root"/var/log/ganeti "$home"/disks "$home"/shared-disks
    chmod 755 /srv/cytx "$home" "$root"
    cat >"$root/etc/default/ganeti" <<SETTINGS
NODED_ARGS='--no-mlock -b $node_address'
CONFD_ARGS='-b $node_address'
METAD_ARGS='-b $node_address -p 8090'
MOND_ARGS='-b $node_address'
RAPI_ARGS='-b $cluster_address --require-authentication'
SETTINGS
    printf '%s\n' "$home/disks" "$home/shared-disks" >"$root/etc/ganeti/file-storage-paths"
    printf '#!/bin/sh\nexit 0\n' | executable "$root/etc/ganeti/scripts/master-ip-setup"
    # Connects a machine's interface, as the package for hosts of this kind of cloud does.
    executable "$root/etc/ganeti/kvm-vif-bridge" <<'SCRIPT'
#!/bin/sh -e
ip link set "$INTERFACE" up
[ "$MODE" != bridged ] || ip link set "$INTERFACE" master "$LINK"
SCRIPT
    echo $hypervisor >"$home/hypervisor"
    printf '#!/bin/sh\nexport LC_ALL=C GANETI_ROOTDIR=%s GANETI_HOSTNAME=%s\nexec "$@"\n' \
        "$root" "$node" | executable "$home/command"
    as_node /usr/lib/ganeti/ensure-dirs
}

# "gnt-cluster init" will have neither a node in 127/8 nor a cluster address that somebody
# answers, as all of 127/8 does; for this one process the two checks are told otherwise.
initialize() {
    [ -e "$root/var/lib/ganeti/config.data" ] && return
    as_node env PYTHONPATH=/usr/share/ganeti/default /usr/bin/python3 - \
        "$cluster" "$home" $hypervisor $qemu $node_address >"$home/init.log" 2>&1 <<'PYTHON' || { cat "$home/init.log" >&2; exit 1; }
import sys

from ganeti import netutils
from ganeti.client import gnt_cluster

cluster, home, hypervisor, qemu, node_address = sys.argv[1:]
netutils.TcpPing = lambda *args, **kwargs: False
netutils.IP4Address.loopback_cidr = "0.0.0.0/32"
templates = "diskless,file,sharedfile"
sys.argv = [
    "gnt-cluster", "init",
    "--enabled-hypervisors=" + hypervisor,
    "--enabled-disk-templates=" + templates,
    "--ipolicy-disk-templates=" + templates,
    "--file-storage-dir=" + home + "/disks",
    "--shared-file-storage-dir=" + home + "/shared-disks",
    "--ipolicy-bounds-specs=min:memory-size=4,cpu-count=1,disk-count=0,disk-size=0,"
    "nic-count=0,spindle-use=0/max:memory-size=32768,cpu-count=16,disk-count=16,"
    "disk-size=1048576,nic-count=8,spindle-use=12",
    "--ipolicy-vcpu-ratio=100000", "--ipolicy-spindle-ratio=100000",
    "--nic-parameters=mode=routed,link=100",
    "--default-iallocator=hail-one-node",
    "--master-netdev=lo", "--use-external-mip-script=yes",
    "--no-etc-hosts", "--no-ssh-init",
]
if hypervisor == "kvm":
    # The binary's own name keeps it from wanting /dev/kvm; without a kernel it boots the disk.
    parameters = "kvm:kvm_path=%s,kernel_path=,serial_console=false,vnc_bind_address=%s"
    sys.argv.append("--hypervisor-parameters=" + parameters % (qemu, node_address))
sys.argv.append(cluster)
sys.exit(gnt_cluster.Main())
PYTHON
}

# The RAPI's user: a password of its own for each cluster, kept for root alone; Ganeti gets
# only its digest.
credentials() {
    local digest
    if [ ! -s "$home/password" ]; then
        (umask 077; head -c 64 /dev/urandom | base64 -w0 | tr -dc A-Za-z0-9 | head -c 32 >"$home/password")
    fi
    digest=$(printf 'cyclades:Ganeti Remote API:%s' "$(cat "$home/password")" | md5sum | cut -d' ' -f1)
    printf 'cyclades {HA1}%s write\n' "$digest" >"$root/var/lib/ganeti/rapi/users"
}

start_daemons() {
    local daemon
    for daemon in noded confd wconfd rapi luxid; do
        as_node $daemons check ganeti-$daemon 2>/dev/null && continue
        start_daemon ganeti-$daemon
    done
}

# A child that the last daemon has left may hold its port for a moment longer.
start_daemon() {
    local try
    for try in $(seq 20); do
        rm -f "$root/var/run/ganeti/$1.pid"    # a left-over one is refused
        as_node $daemons start "$1" 2>"$home/start.log" && return
        sleep 0.5
    done
    cat "$home/start.log" >&2
    return 1
}

wait_for_answer() {
    /usr/bin/python3 - "$cluster_address" "$home/password" <<'PYTHON'
import base64, ssl, sys, time, urllib.request

address, password_file = sys.argv[1:]
with open(password_file) as file:
    pair = "cyclades:" + file.read().strip()
request = urllib.request.Request(
    "https://%s:5080/2/info" % address,
    headers={"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()},
)
end = time.monotonic() + 45
while True:
    try:
        context = ssl._create_unverified_context()
        urllib.request.urlopen(request, context=context, timeout=10).read()
        break
    except OSError as failure:
        if time.monotonic() > end:
            sys.exit("the RAPI does not answer: %s" % failure)
        time.sleep(0.2)
PYTHON
}

install_packages
plugins
in_hosts "$cluster_address" "$cluster"
in_hosts "$node_address" "$node"
node_tree
initialize
credentials
start_daemons
[ -e /sys/class/net/$bridge ] || ip link add "$bridge" type bridge 2>/dev/null || bridge=
wait_for_answer
# What a client needs to pin: the certificate alone, without its key.
openssl x509 -in "$root/var/lib/ganeti/rapi.pem" -out "$home/certificate.pem"

cat <<REPORT
name=$cluster
address=$cluster_address
port=5080
username=cyclades
password_file=$home/password
certificate=$home/certificate.pem
command=$home/command
group=default
os=snf-image+default
hypervisor=$hypervisor
link=100
bridge=$bridge
REPORT
