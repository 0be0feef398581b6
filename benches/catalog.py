#!/usr/bin/env python3
"""Fills a new catalog with years of backups, for benches/load.py and for a look by hand.

  benches/catalog.py --state FOLDER [--catalog mysql://…] [--backups 1000000] [--vms 2000] [--program FILE]

The hub makes its tables and its repository itself; rows come in by SQL, in bulk: VMs with one to three disks, a full
a week with six incrementals (now and then a differential), one in fifty failed or cancelled, two or three tags each,
two repositories, chains, a verification in twenty backups, an entry of the audit log each. What the hub counts is
counted as its own migrations do it. The points have no files: everything that only asks the catalog works, restores don't.
Needs only Python's standard library, and `mariadb` for a catalog on a server, in whose address stands ?socket=….
"""

import argparse
import hashlib
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30
PORTION = 50_000

COLUMNS = {
    "vm_contexts": "context_id vm_name source_id created_at updated_at",
    "vm_disks": "vm_context_id disk_index disk_key source_uri size_gb capacity_bytes",
    "backup_jobs": "id vm_context_id vm_name requested_type backup_type status current_phase repository_id "
    "repository_type repository_path parent_backup_id bytes_transferred total_bytes bytes_processed size_bytes "
    "progress_percent transfer_speed_bps last_telemetry_at error_message error_code compression "
    "compression_enabled on_cbt_loss timeout_seconds created_at started_at completed_at request generation",
    "backup_disks": "backup_job_id disk_index disk_key source_uri backup_type parent_backup_id status size_gb "
    "capacity_bytes size_bytes bytes_transferred bytes_processed progress_percent qcow2_path nbd_export_name blake3",
    "backup_tags": "backup_job_id tag_key tag_value value_start created_at",
    "backup_chains": "id vm_context_id disk_id repository_id full_backup_id latest_backup_id total_backups "
    "total_size_bytes",
    "jobs": "id job_type status current_phase backup_id vm_name repository_id bytes_transferred bytes_processed "
    "total_bytes progress_percent created_at started_at completed_at",
    "audit_log": "id logged_at actor action object origin outcome",
}


def shown(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


class Estate:
    """VMs and what becomes of them, the same for the same numbers."""

    def __init__(self, backups, vms, repositories):
        self.backups, self.vms, self.repositories = backups, vms, repositories
        self.random = random.Random(20251006)
        self.days = -(-backups // vms)
        self.start = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start -= timedelta(days=self.days)

    def vm(self, n):
        name = f"vm-{n:05d}"
        rng = random.Random(n)
        sizes = [rng.choice((20, 40, 80, 200)) * GIB for _ in range(rng.choice((1, 1, 2, 3)))]
        repository = self.repositories[0 if n % 5 else -1]
        context = f"ctx-{name}-{self.start:%Y%m%d-%H%M%S}"
        return name, context, sizes, repository, ("prod", "prod", "test", "dev")[n % 4]

    def rows(self):
        """Pairs of table and row, a VM after the other, so that keys come in their order."""
        total = 0
        for n in range(self.vms):
            name, context, sizes, repository, env = self.vm(n)
            made = shown(self.start)
            yield "vm_contexts", (context, name, "local", made, made)
            sources = [f"file:///srv/vm/{name}/disk{index}.raw?format=raw" for index in range(len(sizes))]
            for index, (source, size) in enumerate(zip(sources, sizes)):
                yield "vm_disks", (context, index, 2000 + index, source, size // GIB, size)
            full = parent = None
            chain = []
            for day in range(self.days):
                if total == self.backups:
                    break
                total += 1
                at = self.start + timedelta(days=day, seconds=20 * 3600 + n * 14_400 // self.vms,
                                            microseconds=self.random.randrange(1_000_000))
                state = self.random.random()
                status = "failed" if state < 0.015 else "cancelled" if state < 0.02 else "completed"
                kind = "full" if full is None or day % 7 == 0 else "differential" if day % 31 == 30 else "incremental"
                on = None if kind == "full" else full if kind == "differential" else parent
                identity = f"backup-{name}-{at:%Y%m%d-%H%M%S}"
                yield from self.backup(identity, name, context, kind, status, repository, on, sources, sizes, at, env, n)
                if status != "completed":
                    continue
                if kind == "full":
                    yield from self.chain(chain, context, repository, len(sizes))
                    full, chain = identity, []
                parent = identity
                chain.append(identity)
            yield from self.chain(chain, context, repository, len(sizes))

    def backup(self, identity, name, context, kind, status, repository, on, sources, sizes, at, env, n):
        done = status == "completed"
        capacity = sum(sizes)
        share = (0.4 if kind == "full" else 0.03) if done else 0.0
        stored = [int(size * share) for size in sizes]
        end = shown(at + timedelta(seconds=30 + int(capacity * share / (400 << 20))))
        begun = shown(at)
        error = ("the source went away: Connection reset by peer", "source_failed") if status == "failed" else (None, None)
        request = f'{{"vm_name":"{name}","backup_type":"auto","compression":"zstd","tags":{{"env":"{env}"}},"dry_run":false}}'
        phase = "completed" if done else "failed"
        yield "backup_jobs", (
            identity, context, name, "auto", kind, status, phase, repository[0], "local", repository[1], on,
            sum(stored), capacity, capacity if done else 0, sum(stored), 100.0 if done else 0.0, 400 << 20, end,
            *error, "zstd", 1, "full", 14_400, begun, begun, end, request, 3 if done else 2)
        word = {"full": "full", "incremental": "incr", "differential": "diff"}[kind]
        for index, (source, size) in enumerate(zip(sources, sizes)):
            path = f"{name}/disk-{index}/{word}-{at:%Y%m%d-%H%M%S}.qcow2"
            export = f"backup-{context}-disk{index}-{word}-{at:%Y%m%dT%H%M%S}"[-64:]
            digest = hashlib.sha256(f"{identity}{index}".encode()).hexdigest() if done else None
            yield "backup_disks", (
                identity, index, 2000 + index, source, kind, on, status, size // GIB, size, stored[index], stored[index],
                size if done else 0, 100.0 if done else 0.0, path, export, digest)
        tags = {"env": env, "team": f"team-{n % 40}"} | ({"kept": "yearly"} if self.random.random() < 0.01 else {})
        for key, value in tags.items():
            yield "backup_tags", (identity, key, value, value, begun)
        if done and self.random.random() < 0.05:
            token = hashlib.sha256(identity.encode()).hexdigest()
            job = f"verify-{token[:8]}-{token[8:12]}-4{token[12:15]}-8{token[15:18]}-{token[18:30]}"
            yield "jobs", (job, "verify", "completed", "completed", identity, name, repository[0], 0, sum(stored),
                           sum(stored), 100.0, end, end, end)
        token = hashlib.sha256(begun.encode() + name.encode()).hexdigest()
        entry = f"{token[:8]}-{token[8:12]}-4{token[12:15]}-8{token[15:18]}-{token[18:30]}"
        yield "audit_log", (entry, begun, "token cron", "backup_start", identity, "127.0.0.1", "ok")

    def chain(self, members, context, repository, disks):
        for disk in range(disks if members else 0):
            yield "backup_chains", (f"{members[0]}-disk{disk}-chain", context, disk, repository[0], members[0],
                                    members[-1], len(members), len(members) * GIB)


class Sqlite:
    """The catalog in a file. Indices are left out until all rows are there."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-1000000; PRAGMA foreign_keys=OFF; BEGIN")
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        self.indices = self.db.execute(query).fetchall()
        for name, _ in self.indices:
            self.db.execute(f"DROP INDEX {name}")

    def one(self, query):
        return self.db.execute(query).fetchall()

    def insert(self, table, rows):
        names = COLUMNS[table].split()
        marks = ",".join("?" * len(names))
        self.db.executemany(f"INSERT INTO {table} ({','.join(names)}) VALUES ({marks})", rows)

    def finish(self, statements):
        # Those who count look rows up by their keys only.
        for statement in statements + [sql for _, sql in self.indices]:
            self.db.execute(statement)
        self.db.execute("COMMIT")
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()


class MariaDb:
    """The catalog on a server, through its client."""

    def __init__(self, address):
        parts = urlsplit(address)
        self.database = parts.path.strip("/")
        self.client = ["mariadb", "--no-defaults", "--local-infile=1", f"--user={parts.username}", "--batch",
                       "--skip-column-names", f"--socket={parse_qs(parts.query)['socket'][0]}", self.database]

    def one(self, query):
        run = subprocess.run([*self.client, "-e", query], check=True, capture_output=True, text=True)
        return [line.split("\t") for line in run.stdout.splitlines()]

    def insert(self, table, rows):
        def text(value):
            return "\\N" if value is None else str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")

        with tempfile.NamedTemporaryFile("w", suffix=".tsv", dir="/dev/shm") as file:
            file.writelines("\t".join(map(text, row)) + "\n" for row in rows)
            file.flush()
            self.run(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE {table} CHARACTER SET utf8mb4 "
                     f"({COLUMNS[table].replace(' ', ',')})")

    def run(self, statement):
        quick = "SET foreign_key_checks=0, unique_checks=0; "
        subprocess.run([*self.client, "-e", quick + statement], check=True)

    def finish(self, statements):
        for statement in statements:
            self.run(statement)


def counting():
    """The statements of the hub's migrations that fill tables of numbers from others."""
    found = []
    for file in sorted((ROOT / "src/catalog/migrations").glob("*.sql")):
        text = "\n".join(line for line in file.read_text().splitlines() if not line.strip().startswith("--"))
        statements = [statement.strip() for statement in text.split(";\n")]
        found += [s.rstrip(";") for s in statements if re.match("DELETE FROM|INSERT INTO", s)]
    return found


def fill(program, state, catalog, backups, vms, say=print):
    """Makes the catalog."""
    state.mkdir(parents=True, exist_ok=True)
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("SENDENSE_")}
    surroundings |= {"SENDENSE_HOME": str(state), "SENDENSE_HUB": "embedded"}
    if catalog:
        surroundings["SENDENSE_CATALOG"] = catalog
    # A repository does not lie in the hub's folder.
    beside = state.with_name(state.name + "-repositories")
    beside.mkdir(exist_ok=True)
    for name in ("local-repo-1", "archive"):
        subprocess.run([program, "repo", "create", name, "--path", str(beside / name), "--quiet"], check=True,
                       env=surroundings, stdout=subprocess.DEVNULL)
    target = MariaDb(catalog) if catalog else Sqlite(state / "catalog.db")
    repositories = [(row[0], str(beside / row[1])) for row in
                    target.one("SELECT id, name FROM backup_repositories ORDER BY is_default DESC")]
    pending = {table: [] for table in COLUMNS}
    made = 0

    def flush():
        for table, rows in pending.items():
            if rows:
                target.insert(table, rows)
                rows.clear()

    for table, row in Estate(backups, vms, repositories).rows():
        pending[table].append(row)
        if table == "backup_jobs":
            made += 1
            if made % PORTION == 0:
                flush()
                say(f"{made} backups", file=sys.stderr)
    flush()
    target.finish(counting())
    say(f"{made} backups of {vms} VMs are in {catalog or state / 'catalog.db'}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state", required=True, type=lambda text: Path(text).absolute())
    parser.add_argument("--catalog", help="mysql://USER@localhost/DATABASE?socket=…; else the state folder's file")
    parser.add_argument("--backups", type=int, default=1_000_000)
    parser.add_argument("--vms", type=int, default=2000)
    parser.add_argument("--program", default=str(ROOT / "target/release/sendense-ctl"))
    arguments = parser.parse_args()
    fill(arguments.program, arguments.state, arguments.catalog, arguments.backups, arguments.vms)


if __name__ == "__main__":
    main()
