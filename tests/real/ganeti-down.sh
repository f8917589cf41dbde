#!/bin/bash
# Stops the cluster that ganeti-up.sh has started.
#
#   ganeti-down.sh [N]           ends the daemons of cluster N (default 1); up starts them again
#   ganeti-down.sh [N] --purge   and removes its files, host names and bridge; with the last
#                                cluster the OS definition and the allocator go too
set -uo pipefail

number=1 purge=
for word; do
    case $word in
        --purge) purge=yes ;;
        '' | *[!0-9]* | 0*) echo "usage: ganeti-down.sh [N] [--purge]" >&2; exit 2 ;;
        *) number=$word ;;
    esac
done
home=/srv/cytx/$number
node=n1.cy$number.test
root=$home/$node

# The number in a pid file may be another process's by now: only one that was started for this
# node is ended.
# ("grep -q" would hang up on "tr" before a long environment is written, which then counts as a no.)
ours() { { tr '\0' '\n' <"/proc/$1/environ" | grep -xF "GANETI_HOSTNAME=$node"; } >/dev/null 2>&1; }
gone() {
    local state
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
    [ -z "$state" ] || [ "${state:0:1}" = Z ]
}

pids=
for file in "$root"/var/run/ganeti/ganeti-*.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    [ -n "$pid" ] && ours "$pid" && pids="$pids $pid"
done
if [ -n "$purge" ]; then    # jobs and machines that still run, each a process of its own
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/}; pid=${pid%/environ}
        ours "$pid" && pids="$pids $pid"
    done
fi
for pid in $pids; do kill "$pid" 2>/dev/null; done
for pid in $pids; do
    for _ in $(seq 100); do gone "$pid" && break; sleep 0.1; done
    gone "$pid" || kill -9 "$pid" 2>/dev/null
done
rm -f "$root"/var/run/ganeti/ganeti-*.pid

if [ -n "$purge" ]; then
    rm -rf "$home"
    [ -e "/sys/class/net/cytx$number" ] && ip link del "cytx$number"
    (
        flock 9    # other clusters may be added or removed at the same moment
        rest=$(grep -vE "^127\.77\.$number\.[0-9]+ (n1\.)?cy$number\.test$" /etc/hosts)
        [ "$rest" = "$(cat /etc/hosts)" ] || printf '%s\n' "$rest" >/etc/hosts
    ) 9>/run/cyclades-tx-hosts.lock
    if [ -z "$(ls -A /srv/cytx 2>/dev/null)" ]; then
        rm -rf /srv/cytx
        [ -e /srv/ganeti/os/snf-image/.made-by-cyclades-tx ] && rm -rf /srv/ganeti/os/snf-image
        allocator=/usr/local/lib/ganeti/iallocators/hail-one-node
        grep -qs 'made by cyclades_tx' $allocator && rm -f $allocator
        rmdir /srv/ganeti/os /srv/ganeti 2>/dev/null
    fi
fi
exit 0
