#!/usr/bin/env python3
"""Load on a hub with years of backups: how long answers take, and what its memory does.

  benches/load.py [--catalog sqlite|mariadb|both] [--backups 1000,100000,1000000] [--vms 2000] [--minutes 1]
                  [--clients 200] [--jobs 50] [--running 5] [--every 5] [--work FOLDER] [--program FILE] [--quiet-first]

For each size and database: a catalog by benches/catalog.py (kept in --work and used again), a hub on plain HTTP on
loopback with an API token, and then, side by side,
- polling clients on a connection each, every one asking for something of the mix every --every seconds,
- jobs that a client writes ("source": "push"), with a telemetry message each every --every seconds,
- backups of a disk that the hub reads, one after the other, so that so many always run; old ones are deleted.
Prints a Markdown table of medians and 99th percentiles in milliseconds, and the hub's memory over time. --quiet-first asks
every question alone first, without load. MariaDB is a server of its own in --work (buffer pool 2 GiB).
Needs only Python's standard library, and mariadbd with its client.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import catalog as rows

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20


class Connection:
    """HTTP/1.1 with a token, kept open."""

    def __init__(self, hub):
        self.hub, self.streams = hub, None

    async def ask(self, method, path, body=None):
        """Status, body and seconds of a request. A connection that was idle for long has been closed by the hub."""
        if self.streams and self.streams[0].at_eof():
            await self.close()
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.hub.port, limit=MIB)
        reader, writer = self.streams
        payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        head = (f"{method} /api/v1{path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {self.hub.token}\r\n"
                f"Content-Length: {len(payload)}\r\n\r\n")
        begun = time.perf_counter()
        writer.write(head.encode() + payload)
        answer = await reader.readuntil(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:] if b": " in line)
        content = await reader.readexactly(int(headers.get(b"content-length", 0)))
        took = time.perf_counter() - begun
        if headers.get(b"connection") == b"close":
            await self.close()
        return int(answer.split(b" ", 2)[1]), content, took

    async def close(self):
        if self.streams:
            self.streams[1].close()
            self.streams = None


class Hub:
    """A hub that serves, on a port of its own."""

    def __init__(self, program, state, address, ports="10100-10200"):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SENDENSE_")}
        environment |= {"SENDENSE_HOME": str(state)}
        if address:
            environment["SENDENSE_CATALOG"] = address
        self.environment, self.program = environment, program
        self.log = open(state / "hub.log", "w")
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [program, "hub", "serve", "--json", "--listen", "http://127.0.0.1:0", "--log-level", "warn",
             "--set", f"push.ports={ports}", "--set", "limits.requests_per_second=0", "--set", "limits.connections_per_client=1024"],
            env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the hub did not start: {(state / 'hub.log').read_text()}")
        self.started = time.perf_counter() - begun
        self.port = next(int(a.rsplit(":", 1)[1]) for a in json.loads(line)["addresses"] if a.startswith("http:"))
        environment = environment | {"SENDENSE_HUB": f"unix://{state}/hub.sock"}
        name = f"load-{time.time_ns()}"
        made = subprocess.run([program, "hub", "tokens", "create", name, "--role", "operator"],
                              env=environment, capture_output=True, text=True, check=True)
        self.token = made.stdout.strip()

    def memory(self):
        """Resident and anonymous MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        values = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in status.splitlines() if "kB" in line}
        return values["VmRSS"], values["RssAnon"]

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class MariaDb:
    """A private server."""

    def __init__(self, folder):
        self.folder, self.socket = folder, folder / "sock"
        program = next((p for p in ("/usr/sbin/mariadbd", "/usr/bin/mariadbd") if Path(p).exists()), None)
        if program is None:
            sys.exit("mariadbd is not installed")
        user = ["--user=root"] if os.geteuid() == 0 else []
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "data").exists():
            subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--skip-test-db",
                            "--auth-root-authentication-method=normal", *user], check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [program, "--no-defaults", *user, f"--datadir={folder}/data", f"--socket={self.socket}",
             f"--pid-file={folder}/pid", f"--log-error={folder}/log", "--skip-networking", "--skip-log-bin",
             "--skip-name-resolve", "--max-connections=200", "--innodb-buffer-pool-size=2G",
             "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=1"])
        while subprocess.run(self.client("SELECT 1"), capture_output=True).returncode:
            time.sleep(0.2)

    def client(self, statement):
        return ["mariadb", "--no-defaults", "--user=root", f"--socket={self.socket}", "-e", statement]

    def database(self, name):
        subprocess.run(self.client(f"CREATE DATABASE IF NOT EXISTS {name}"), check=True)
        return f"mysql://root@localhost/{name}?socket={self.socket}"

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Known:
    """What can be asked about."""

    def __init__(self, backups, vms, listed, repositories):
        self.backups, self.vms = backups, vms
        self.ids = [backup["id"] for backup in listed]
        self.repositories = [repository["id"] for repository in repositories]
        times = sorted(backup["created_at"] for backup in listed)
        self.day = times[len(times) // 2][:10]
        year, month, _ = self.day.split("-")
        self.before = f"{int(year) - (month == '01')}-{(int(month) + 10) % 12 + 1:02}-15"

    def questions(self):
        """The mix: name, weight, path."""
        pick = random.choice
        vm = f"vm-{random.randrange(self.vms):05d}"
        return [
            ("GET /backups", 10, "/backups"),
            ("?vm_name", 10, f"/backups?vm_name={vm}"),
            ("?status=completed", 5, "/backups?status=completed"),
            ("?status=failed", 5, "/backups?status=failed"),
            ("?status=running", 10, "/backups?status=running"),
            ("?tag=env=prod", 4, "/backups?tag=env%3Dprod"),
            ("?tag=kept", 2, "/backups?tag=kept"),
            ("?tag&status=failed", 2, "/backups?tag=env%3Dprod&status=failed"),
            ("?since (a day)", 4, f"/backups?since={self.day}T03:00:00Z"),
            ("?since&until (a month)", 3, f"/backups?since={self.before}T05:00:00Z&until={self.day}T21:00:00Z"),
            ("?repository_id", 4, f"/backups?repository_id={pick(self.repositories)}"),
            ("?repository_id&backup_type=full", 3,
             f"/backups?repository_id={pick(self.repositories)}&backup_type=full"),
            ("?offset (half way)", 2, f"/backups?offset={self.backups // 2}"),
            ("?offset (the end)", 2, f"/backups?offset={max(self.backups - 100, 0)}"),
            ("?limit=1000", 1, "/backups?limit=1000"),
            ("/backups/{id}", 10, f"/backups/{pick(self.ids)}"),
            ("/backups/{vm}/chain", 6, f"/backups/{vm}/chain"),
            ("/vms", 4, "/vms"),
            ("/vms?limit=1000", 1, "/vms?limit=1000"),
            ("/vms/{name}", 4, f"/vms/{vm}"),
            ("/jobs", 6, "/jobs"),
            ("/jobs?status=running", 6, "/jobs?status=running"),
            ("/jobs?offset (half way)", 1, f"/jobs?offset={self.backups // 2}"),
            ("/repositories", 6, "/repositories"),
            ("/backup/list", 4, "/backup/list"),
            ("/health", 10, "/health"),
        ]


class Figures:
    def __init__(self):
        self.times, self.failed = {}, {}

    def note(self, name, status, took, content=b""):
        if status >= 400:
            self.failed.setdefault(name, []).append((status, content[:200]))
        else:
            self.times.setdefault(name, []).append(took * 1000)

    def percentile(self, name, share):
        times = sorted(self.times.get(name) or [0.0])
        return times[min(len(times) - 1, int(len(times) * share))]


async def poll(hub, known, figures, every, until):
    connection = Connection(hub)
    await asyncio.sleep(random.random() * every)
    while time.monotonic() < until:
        questions = known.questions()
        name, _, path = random.choices(questions, [weight for _, weight, _ in questions])[0]
        status, content, took = await connection.ask("GET", path)
        figures.note(name, status, took, content)
        await asyncio.sleep(every * random.uniform(0.8, 1.2))
    await connection.close()


async def push(hub, figures, number, every, until):
    """A client that writes disks, as far as the hub hears of it."""
    connection = Connection(hub)
    body = {"vm_name": f"pushed-{number}", "backup_type": "full", "source": "push",
            "disks": [{"capacity_bytes": 64 * MIB}, {"capacity_bytes": 32 * MIB}]}
    status, content, _ = await connection.ask("POST", "/backups", body)
    if status != 202:
        figures.note("POST /backups (push)", status, 0, content)
        return
    backup = json.loads(content)["backup"]["id"]
    begun, total, turn = time.monotonic(), 96 * MIB, 0
    await asyncio.sleep(random.random() * every)
    while time.monotonic() < until:
        turn += 1
        done = min(total, turn * MIB // 16)
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        message = {
            "job_type": "backup", "status": "running", "current_phase": "transferring", "bytes_transferred": done,
            "total_bytes": total, "transfer_speed_bps": 200 * MIB, "eta_seconds": 60,
            "progress_percent": 100 * done / total, "timestamp": stamp,
            "disks": [{"disk_index": index, "disk_key": 2000 + index, "bytes_transferred": done // 2,
                       "total_bytes": size * MIB, "progress_percent": 1.0, "status": "running"}
                      for index, size in enumerate((64, 32))]}
        status, content, took = await connection.ask("POST", f"/telemetry/backup/{backup}", message)
        figures.note("POST /telemetry", status, took, content)
        await asyncio.sleep(every * random.uniform(0.95, 1.05))
    await connection.ask("POST", f"/backups/{backup}/cancel")
    await connection.close()
    return begun


async def back_up(hub, figures, number, disk, every, until):
    """One backup after the other."""
    connection = Connection(hub)
    vm, made = f"running-{number}", []
    while time.monotonic() < until:
        body = {"vm_name": vm, "backup_type": "full", "source": f"file://{disk}", "bandwidth_limit_bps": 4 * MIB,
                "tags": {"env": "load"}}
        status, content, took = await connection.ask("POST", "/backups", body)
        figures.note("POST /backups", status, took, content)
        if status != 202:
            await asyncio.sleep(1)
            continue
        backup = json.loads(content)["backup"]["id"]
        while time.monotonic() < until:
            status, content, took = await connection.ask("GET", f"/backups/{backup}")
            state = json.loads(content)["backup"]["status"]
            if state in ("completed", "failed", "cancelled"):
                figures.note(f"backups that were {state}", 200, 0)
                break
            await asyncio.sleep(0.5)
        made.append(backup)
        if len(made) > 2:
            # The VM is free a moment after its backup is seen to have ended.
            for _ in range(50):
                status, content, took = await connection.ask("DELETE", f"/backups/{made[0]}")
                if status != 423:
                    break
                await asyncio.sleep(0.1)
            figures.note("DELETE /backups/{id}", status, took, content)
            made.pop(0)
    for backup in made:
        await connection.ask("POST", f"/backups/{backup}/cancel")
    await connection.close()


async def watch_memory(hub, samples, until, every):
    begun = time.monotonic()
    while time.monotonic() < until:
        samples.append((time.monotonic() - begun, *hub.memory(), hub.cpu()))
        await asyncio.sleep(every)


async def alone(hub, known, figures, times):
    """Every question by itself, one after the other."""
    connection = Connection(hub)
    for _ in range(times):
        for name, _, path in known.questions():
            status, content, took = await connection.ask("GET", path)
            figures.note(name, status, took, content)
    await connection.close()


async def measure(hub, known, arguments, disk):
    single, figures, samples = Figures(), Figures(), []
    if arguments.quiet_first:
        await alone(hub, known, single, 10)
    until = time.monotonic() + arguments.minutes * 60
    work = [poll(hub, known, figures, arguments.every, until) for _ in range(arguments.clients)]
    work += [push(hub, figures, number, arguments.every, until) for number in range(arguments.jobs)]
    work += [back_up(hub, figures, number, disk, arguments.every, until) for number in range(arguments.running)]
    work.append(watch_memory(hub, samples, until, 60 if arguments.minutes >= 5 else 10))
    await asyncio.gather(*work)
    return single, figures, samples


async def learn(hub, backups, vms):
    connection = Connection(hub)
    listed = json.loads((await connection.ask("GET", "/backups?status=completed&limit=1000"))[1])["backups"]
    repositories = json.loads((await connection.ask("GET", "/repositories"))[1])["repositories"]
    await connection.close()
    return Known(backups, vms, listed, repositories)


def prepare(arguments, database, backups, server):
    """The catalog, its state folder and its address."""
    vms = min(arguments.vms, max(backups // 10, 1))
    state = arguments.work / f"{database}-{backups}"
    address = server.database(f"load_{backups}") if server else None
    if not (state / "filled").exists():
        rows.fill(arguments.program, state, address, backups, vms)
        (state / "filled").touch()
    return vms, state, address


def report(database, backups, hub, started, single, figures, samples, arguments):
    print(f"\n### {database}, {backups:,} backups\n")
    print(f"Ready {started:.1f} s after its start. {arguments.clients} clients, {arguments.jobs} jobs with telemetry, "
          f"{arguments.running} backups at a time, {arguments.minutes} minutes.\n")
    head = "| | asked | p50 ms | p99 ms | longest |" + (" alone, p50 |" if single.times else "")
    print(head + "\n" + "| --- " + "| ---: " * (head.count("|") - 2) + "|")
    for name in figures.times:
        times = figures.times[name]
        if not max(times):
            continue
        line = (f"| {name} | {len(times)} | {figures.percentile(name, .5):.1f} | {figures.percentile(name, .99):.1f} "
                f"| {max(times):.0f} |")
        print(line + (f" {single.percentile(name, .5):.1f} |" if single.times else ""))
    reads = [took for name, times in figures.times.items() if not name.startswith(("POST", "DELETE", "backups that"))
             for took in times]
    everything = Figures()
    everything.times["reads"] = reads
    print(f"| all reads | {len(reads)} | {everything.percentile('reads', .5):.1f} "
          f"| {everything.percentile('reads', .99):.1f} | {max(reads, default=0):.0f} |")
    done = {name: len(times) for name, times in figures.times.items() if name.startswith("backups that")}
    print(f"\n{done or 'no backup ended'}; refused or failed: "
          f"{ {name: (len(found), found[0]) for name, found in figures.failed.items()} or 'nothing'}")
    shown = ", ".join(f"{at / 60:.0f} min {rss} ({anon})" for at, rss, anon, _ in samples)
    print(f"Memory, MiB resident (of that its own): {shown}")
    if len(samples) > 1:
        share = (samples[-1][3] - samples[0][3]) / (samples[-1][0] - samples[0][0])
        print(f"The hub took {share * 100:.0f} % of one core.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--catalog", choices=("sqlite", "mariadb", "both"), default="both")
    parser.add_argument("--backups", default="1000,100000,1000000")
    parser.add_argument("--vms", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--running", type=int, default=5)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--work", type=lambda text: Path(text).absolute(), default=Path("/var/tmp/sendense-load"))
    parser.add_argument("--program", default=str(ROOT / "target/release/sendense-ctl"))
    parser.add_argument("--ports", default="10100-10200", help="of the exports of the jobs that are pushed")
    parser.add_argument("--quiet-first", action="store_true")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    disk = arguments.work / "disk.raw"
    if not disk.exists():
        disk.write_bytes(os.urandom(32 * MIB))
    databases = ("sqlite", "mariadb") if arguments.catalog == "both" else (arguments.catalog,)
    for database in databases:
        server = MariaDb(arguments.work / "server") if database == "mariadb" else None
        try:
            for backups in map(int, arguments.backups.split(",")):
                vms, state, address = prepare(arguments, database, backups, server)
                hub = Hub(arguments.program, state, address, arguments.ports)
                try:
                    known = asyncio.run(learn(hub, backups, vms))
                    figures = asyncio.run(measure(hub, known, arguments, quote(str(disk))))
                    report(database, backups, hub, hub.started, *figures, arguments)
                    sys.stdout.flush()
                finally:
                    hub.stop()
        finally:
            if server:
                server.stop()


if __name__ == "__main__":
    main()
