#!/usr/bin/env python3
"""The benchmarks of docs/benchmarks.md: sendense-ctl beside its peers, in turn, in one run on one machine.

  benches/bench.py [--where tmpfs|disk|both] [--runs 5] [--only WORD] [--disk FILE] [--work FOLDER]

Makes the mixed disk with benches/mixed-disk.sh where --disk names none, and prints one Markdown table a task:
medians of wall seconds (fsync included), CPU seconds of all processes that took part, peak memory of the
largest, size of what was written, and the ratio of the walls. Needs only Python's standard library; peers
that are not installed are left out, and said so.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CTL = str(ROOT / "target/release/sendense-ctl")
GRANULE = 65536


class Result:
    def __init__(self, wall, cpu, memory, size):
        self.wall, self.cpu, self.memory, self.size = wall, cpu, memory, size


def stored(path):
    """Bytes on the disk of a file or of everything below a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_blocks * 512 for p in files)


def remove(path):
    path = Path(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Server:
    """A peer's NBD server on a Unix socket; its CPU time counts."""

    def __init__(self, command, socket):
        self.socket = Path(socket)
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"the server did not start: {command}")
            time.sleep(0.005)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


class Contender:
    """One way to do a task: prepare (not measured), then the command, which must leave its data durable."""

    def __init__(self, name, command, *, output, prepare=None, servers=(), environment=None, sync=None, needs=()):
        self.name, self.command, self.output, self.prepare = name, command, output, prepare
        self.servers, self.environment, self.sync, self.needs = servers, environment, sync, needs
        self.results = []

    def installed(self):
        return all(shutil.which(program) for program in self.needs)

    def run(self, work):
        if self.prepare:
            self.prepare()
        elif self.output:
            remove(self.output)
        running = [Server(command, socket) for command, socket in self.servers]
        note = work / "time"
        line = ["/usr/bin/time", "-f", "%U %S %M", "-o", str(note), *self.command]
        environment = {**os.environ, **(self.environment or {})}
        start = time.monotonic()
        done = subprocess.run(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        cpu = memory = 0
        extra = [server.stop() for server in running]
        if done.returncode == 0 and self.sync:
            subprocess.run(["sync", str(self.sync)], check=True)
        wall = time.monotonic() - start
        if done.returncode != 0:
            sys.exit(f"{self.name} failed: {' '.join(self.command)}\n{done.stderr.decode(errors='replace')}")
        user, system, peak = note.read_text().split()[-3:]
        cpu = float(user) + float(system) + sum(c for c, _ in extra)
        memory = max([int(peak), *(m for _, m in extra)]) * 1024
        self.results.append(Result(wall, cpu, memory, stored(self.output) if self.output else 0))

    def median(self, what):
        return statistics.median(getattr(result, what) for result in self.results)


def task(title, contenders, runs, work, only):
    if only and only not in title:
        return
    present = [c for c in contenders if c.installed()]
    for contender in contenders:
        if contender not in present:
            print(f"left out, not installed: {contender.name}", file=sys.stderr)
    for number in range(runs):
        print(f"{title}: run {number + 1} of {runs}", file=sys.stderr)
        for contender in present:
            contender.run(work)
    ours = present[0].median("wall")
    print(f"\n### {title}\n")
    print("| | wall s | CPU s | peak MiB | written MiB | our wall to it |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for contender in present:
        ratio = "" if contender is present[0] else f"{ours / contender.median('wall'):.2f} ×"
        print(
            f"| {contender.name} | {contender.median('wall'):.2f} | {contender.median('cpu'):.2f} "
            f"| {contender.median('memory') / 2**20:.0f} | {contender.median('size') / 2**20:.0f} | {ratio} |",
            flush=True,
        )
    for contender in present:
        if contender.output:
            remove(contender.output)


def data_granules(path):
    """The numbers of the 64 KiB granules in which a sparse file has data."""
    found, position = [], 0
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while position < end:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.extend(range(start // GRANULE, (position - 1) // GRANULE + 1))
    return sorted(set(found))


def change(path, share, seed):
    """Overwrites that share of the granules in use with new content."""
    chooser = random.Random(seed)
    granules = data_granules(path)
    with open(path, "r+b") as file:
        for granule in chooser.sample(granules, int(len(granules) * share)):
            file.seek(granule * GRANULE)
            file.write(chooser.randbytes(GRANULE))


def ctl(state, *arguments):
    subprocess.run([CTL, *arguments], env={**os.environ, "SENDENSE_HOME": str(state)}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def sparse_copy(source, target):
    remove(target)
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def backup(state, source, *options, name="sendense-ctl"):
    command = [CTL, "backup", "start", "--vm", "bench", "--source", str(source), "--type", "full", "--quiet", *options]
    return Contender(name, command, output=state, environment={"SENDENSE_HOME": str(state)})


def convert(source, target, *options, name=None, source_format="raw", sync=None):
    command = ["qemu-img", "convert", "-f", source_format, "-O", "qcow2", *options, str(source), str(target)]
    return Contender(name or "qemu-img convert " + " ".join(options), command, output=target, sync=sync, needs=["qemu-img"])


def full(work, disk, where, run):
    state, target = work / "state", work / "peer.qcow2"
    parallel = ["-W", "-m", "8"]
    if where == "tmpfs":
        peers = [convert(disk, target, name="qemu-img convert"), convert(disk, target, *parallel), convert(disk, target, "-C")]
    else:
        peers = [convert(disk, target, "-t", "none", *parallel), convert(disk, target, name="qemu-img convert, fsync", sync=target)]
    run(f"raw → qcow2, {where}", [backup(state, disk), *peers])
    compressed = ["-c", "-o", "compression_type=zstd", *parallel]
    sync = target if where == "disk" else None
    run(f"raw → zstd qcow2, {where}", [backup(state, disk, "--compress"), convert(disk, target, *compressed, sync=sync)])


def nbd(work, disk, where, run):
    state, target = work / "state", work / "peer.qcow2"
    cache = ["-t", "none"] if where == "disk" else []
    for kind in ("qemu-nbd", "nbdkit"):
        if not shutil.which(kind):
            print(f"left out, not installed: {kind}", file=sys.stderr)
            continue
        socket, sink = work / "source.sock", work / "sink.sock"
        if kind == "qemu-nbd":
            server = ["qemu-nbd", "--persistent", "--read-only", "--format=raw", "--shared=16", "--socket", str(socket), str(disk)]
        else:
            server = ["nbdkit", "-f", "-r", "-U", str(socket), "file", str(disk)]
        uri = f"nbd+unix:///?socket={socket}"
        ours = backup(state, uri)
        peer = convert(uri, target, *cache, "-W", "-m", "8")
        peer.name = "qemu-img convert " + " ".join([*cache, "-W -m 8"])
        old_sink = ["qemu-nbd", "--persistent", "--format=qcow2", "--shared=16", "--socket", str(sink), str(target)]
        if cache:
            old_sink.insert(1, "--cache=none")

        def fresh():
            remove(target)
            size = str(disk.stat().st_size)
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(target), size], check=True)

        old = Contender(
            "nbdcopy → qemu-nbd over a new qcow2",
            ["nbdcopy", "--connections=4", "--requests=64", uri, f"nbd+unix:///?socket={sink}"],
            output=target, prepare=fresh, servers=[(server, socket), (old_sink, sink)], needs=["nbdcopy", "qemu-nbd"],
            sync=target if where == "disk" else None,
        )
        ours.servers = peer.servers = [(server, socket)]
        run(f"NBD ({kind}) → qcow2, {where}", [ours, peer, old])


def incremental(work, disk, where, run):
    source = work / "source.raw"
    sparse_copy(disk, source)
    os.environ.update({
        "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(work / "restic" / "cache"), "BORG_BASE_DIR": str(work / "borg" / "home"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    })
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    state, restic, borg = (work / name for name in ("state", "restic", "borg"))
    ctl(state, "backup", "start", "--vm", "bench", "--source", str(source), "--type", "full")
    if shutil.which("restic"):
        subprocess.run(["restic", "init", "--repo", restic / "repo"], **quiet)
        subprocess.run(["restic", "backup", "--repo", restic / "repo", source], **quiet)
    if shutil.which("borg"):
        (borg / "home").mkdir(parents=True)
        subprocess.run(["borg", "init", "--encryption=none", borg / "repo"], **quiet)
        subprocess.run(["borg", "create", f"{borg}/repo::one", source], **quiet)
    change(source, 0.05, 1)
    kept = {path: path.with_suffix(".kept") for path in (state, restic, borg) if path.exists()}
    for path, copy in kept.items():
        path.rename(copy)

    def as_before(path):
        def prepare():
            remove(path)
            subprocess.run(["cp", "-a", "--sparse=always", kept[path], path], check=True)
            os.sync()
            # All find the source in the page cache: how much of it the last contender left there is chance.
            subprocess.run(["cat", source], stdout=subprocess.DEVNULL, check=True)
        return prepare

    run(f"incremental by scan, 5 % changed, {where}", [
        Contender("sendense-ctl, incremental", [CTL, "backup", "start", "--vm", "bench", "--type", "incremental", "--quiet"],
                  output=state, prepare=as_before(state), environment={"SENDENSE_HOME": str(state)}),
        Contender("restic backup", ["restic", "backup", "--repo", str(restic / "repo"), str(source)],
                  output=restic, prepare=as_before(restic), needs=["restic"]),
        Contender("borg create", ["borg", "create", f"{borg}/repo::two", str(source)],
                  output=borg, prepare=as_before(borg), needs=["borg"]),
    ])
    for path in [*kept.values(), source]:
        remove(path)


def restore(work, disk, where, run):
    for kind, options in (("plain", []), ("zstd", ["--compress"])):
        state, changing, target = work / "chain", work / "changing.raw", work / "restored.raw"
        remove(state)
        sparse_copy(disk, changing)
        ctl(state, "backup", "start", "--vm", "bench", "--source", str(changing), "--type", "full", *options)
        for point in range(5):
            change(changing, 0.05, 10 + point)
            ctl(state, "backup", "start", "--vm", "bench", "--type", "incremental", *options)
        top = sorted(state.rglob("incr-*.qcow2"))[-1]
        ours = Contender("sendense-ctl restore disk", [CTL, "restore", "disk", "latest", "--to", str(target), "--quiet"],
                         output=target, environment={"SENDENSE_HOME": str(state)})
        cache = ["-t", "none"] if where == "disk" else []
        peer = Contender("qemu-img convert -O raw " + " ".join([*cache, "-W -m 8"]),
                         ["qemu-img", "convert", "-O", "raw", *cache, "-W", "-m", "8", str(top), str(target)],
                         output=target, needs=["qemu-img"])
        run(f"restore of a 6-point {kind} chain → raw, {where}", [ours, peer])
        for path in (state, changing):
            remove(path)


def serve(work, disk, where, run):
    for kind, options in (("plain", []), ("zstd", ["--compress"])):
        state, changing, socket = work / "chain", work / "changing.raw", work / "serve.sock"
        remove(state)
        sparse_copy(disk, changing)
        ctl(state, "backup", "start", "--vm", "bench", "--source", str(changing), "--type", "full", *options)
        for point in range(5):
            change(changing, 0.05, 10 + point)
            ctl(state, "backup", "start", "--vm", "bench", "--type", "incremental", *options)
        top = sorted(state.rglob("incr-*.qcow2"))[-1]
        own = ["env", f"SENDENSE_HOME={state}", CTL, "backup", "serve", "latest", "--socket", str(socket), "--quiet"]
        peer = ["qemu-nbd", "--persistent", "--read-only", "--format=qcow2", "--shared=16", "--socket", str(socket), str(top)]
        for connections in (1, 4):
            copy = ["nbdcopy", f"--connections={connections}", "--requests=64", f"nbd+unix:///?socket={socket}", "null:"]
            run(f"nbdcopy to null: from a 6-point {kind} chain, {connections} connection(s), {where}", [
                Contender("sendense-ctl backup serve", copy, output=None, servers=[(own, socket)], needs=["nbdcopy"]),
                Contender("qemu-nbd", copy, output=None, servers=[(peer, socket)], needs=["nbdcopy", "qemu-nbd"]),
            ])
        for path in (state, changing):
            remove(path)


# Starts a push of one disk, fills it with nbdcopy as the peer's is, completes it, and waits for the end.
PUSH = """set -e
api="curl -sS --fail --unix-socket $1 http://hub/api/v1/backups"
started=$($api -H 'Content-Type: application/json' -d '{"vm_name": "bench", "backup_type": "full", "source": "push",
  "compression": "'$3'", "disks": [{"capacity_bytes": '$(stat -c %s "$2")'}]}')
id=$(printf %s "$started" | sed -n 's/.*"backup_id":"\\([^"]*\\)".*/\\1/p')
uri=$(printf %s "$started" | sed -n 's/.*"nbd_targets_string":"2000:\\([^",]*\\)".*/\\1/p')
# As a client does: every so many seconds, and once more at the end.
tell() {
  curl -sS --fail --unix-socket "$1" -o /dev/null "http://hub/api/v1/telemetry/backup/$id" -H 'Content-Type: application/json' -d '{
    "job_type": "backup", "status": "running", "current_phase": "transferring", "bytes_transferred": 1048576, "total_bytes": '$size',
    "transfer_speed_bps": 1073741824, "eta_seconds": 4, "progress_percent": 0.1,
    "timestamp": "'$(date -u +%FT%T.%NZ)'", "disks": [{"disk_index": 0, "disk_key": 2000,
    "bytes_transferred": 1048576, "total_bytes": '$size', "progress_percent": 0.1, "status": "running"}]}'
}
size=$(stat -c %s "$2")
if [ -n "$4" ]; then
  (while sleep "$4"; do tell "$1"; done) &
  telling=$!
fi
nbdcopy --connections=4 --requests=64 "$2" "$uri"
[ -z "$4" ] || { kill $telling; wait $telling || :; tell "$1"; }
$api/$id/complete -X POST > "$2.answer"
$api/$id/events -N > "$2.answer"
grep -q '"status":"completed"' "$2.answer"
rm "$2.answer"
"""


def pusher(work, disk):
    """A contender that fills an export of a hub: with that compression, and telemetry every so many seconds."""
    state = work / "state"
    socket = state / "hub.sock"
    hub = ["env", f"SENDENSE_HOME={state}", CTL, "hub", "serve", "--no-listen", "--quiet"]

    def contender(name, compression="none", telemetry=""):
        command = ["sh", "-c", PUSH, "push", str(socket), str(disk), compression, telemetry]
        return Contender(name, command, output=state, servers=[(hub, socket)], needs=["nbdcopy", "curl"])

    return contender, hub, socket


def push(work, disk, where, run):
    state, target, sink = work / "state", work / "peer.qcow2", work / "sink.sock"
    ours, hub, socket = pusher(work, disk)
    peer = ["qemu-nbd", "--persistent", "--format=qcow2", "--shared=16", "--socket", str(sink), str(target)]
    if where == "disk":
        peer.insert(1, "--cache=none")

    def fresh():
        remove(target)
        size = str(disk.stat().st_size)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(target), size], check=True)

    run(f"push: nbdcopy → export, {where}", [
        ours("nbdcopy → the hub's export, completed"),
        Contender(
            "nbdcopy → qemu-nbd over a new qcow2",
            ["nbdcopy", "--connections=4", "--requests=64", str(disk), f"nbd+unix:///?socket={sink}"],
            output=target, prepare=fresh, servers=[(peer, sink)], needs=["nbdcopy", "qemu-nbd"],
            sync=target if where == "disk" else None,
        ),
        Contender(
            "sendense-ctl agent push",
            [CTL, "agent", "push", "--hub", f"unix://{socket}", "--vm", "bench", "--source", str(disk), "--type", "full", "--quiet"],
            output=state, servers=[(hub, socket)],
        ),
        ours("nbdcopy → the hub's export, zstd", "zstd"),
    ])


def telemetry(work, disk, where, run):
    ours, _, _ = pusher(work, disk)
    run(f"a push with telemetry, {where}", [
        ours("without", telemetry=""),
        ours("ten messages a second", telemetry="0.1"),
    ])


def memory(work, disk, where, run):
    large = work / "large.raw"
    sparse_copy(disk, large)
    os.truncate(large, 1 << 40)
    state = work / "state"
    run(f"a 1 TiB sparse disk, {where}", [backup(state, large, name="plain"), backup(state, large, "--compress", name="zstd")])
    remove(large)


def several(work, disk, where, run):
    state = work / "state"
    disks = []
    for number in range(5):
        path = work / f"vm{number}.raw"
        subprocess.run([str(ROOT / "benches/small-disk.sh"), str(disk), str(path), str(number)], check=True)
        disks.append(path)

    def prepare():
        remove(state)
        for number, path in enumerate(disks):
            ctl(state, "vm", "add", f"vm{number}", "--disk", str(path))

    names = [word for number in range(5) for word in ("--vm", f"vm{number}")]
    at_once = Contender("five VMs at once", [CTL, "backup", "start", *names, "--quiet"], output=state, prepare=prepare,
                        environment={"SENDENSE_HOME": str(state)})
    script = " && ".join(f"{CTL} backup start --vm vm{number} --quiet" for number in range(5))
    in_turn = Contender("one after the other", ["sh", "-c", script], output=state, prepare=prepare,
                        environment={"SENDENSE_HOME": str(state)})
    run(f"five VMs of 800 MiB, {where}", [at_once, in_turn])
    for path in disks:
        remove(path)


TASKS = (full, nbd, incremental, restore, serve, push, telemetry, memory, several)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", choices=["tmpfs", "disk", "both"], default="both")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", help="only the tasks whose title contains this")
    parser.add_argument("--task", choices=[t.__name__ for t in TASKS], action="append", help="only these groups")
    parser.add_argument("--disk", type=Path, help="a mixed disk made earlier")
    parser.add_argument("--work", type=Path, help="where the disk runs happen (default: the temporary folder)")
    options = parser.parse_args()
    if not Path(CTL).exists():
        sys.exit("build first: cargo build --release")
    print(f"{os.cpu_count()} cores, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB, {os.uname().release}")
    for where in ("tmpfs", "disk"):
        if options.where not in (where, "both"):
            continue
        parent = "/dev/shm" if where == "tmpfs" else options.work
        with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as folder:
            work = Path(folder)
            disk = work / "mixed.raw"
            if options.disk:
                sparse_copy(options.disk, disk)
            else:
                subprocess.run([str(ROOT / "benches/mixed-disk.sh"), str(disk)], check=True)
            os.sync()
            for group in TASKS:
                if not options.task or group.__name__ in options.task:
                    group(work, disk, where, lambda title, contenders: task(title, contenders, options.runs, work, options.only))


if __name__ == "__main__":
    main()
