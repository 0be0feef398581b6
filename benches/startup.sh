#!/usr/bin/env bash
# How long the program takes to say something: --help, and the newest backups out of a catalog of 100,000.
# One real backup is made, and its rows are multiplied in SQLite.
#
#   benches/startup.sh [ROWS]     default 100000
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-100000}
ctl=$PWD/target/release/sendense-ctl
for program in sqlite3 hyperfine; do
  command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/startup.XXXXXX")
trap 'rm -rf "$work"' EXIT
export SENDENSE_HOME=$work/state
truncate -s 4M "$work/disk.raw"
printf x | dd of="$work/disk.raw" conv=notrunc status=none
"$ctl" backup start --vm web --source "$work/disk.raw" --quiet

sqlite3 "$SENDENSE_HOME/catalog.db" <<SQL
PRAGMA foreign_keys = OFF;
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < $rows - 1) SELECT i FROM c;
CREATE TEMP TABLE one AS SELECT * FROM backup_jobs;
CREATE TEMP TABLE disk AS SELECT * FROM backup_disks;
CREATE TEMP TABLE many AS SELECT one.*, n.i FROM one, n;
UPDATE many SET id = 'backup-web-' || printf('%08d', i), created_at = strftime('%Y-%m-%dT%H:%M:%S', '2020-01-01', '+' || (i * 30) || ' minutes') || '.000000000Z';
ALTER TABLE many DROP COLUMN i;
INSERT INTO backup_jobs SELECT * FROM many;
CREATE TEMP TABLE disks AS SELECT disk.*, n.i FROM disk, n;
UPDATE disks SET backup_job_id = 'backup-web-' || printf('%08d', i);
ALTER TABLE disks DROP COLUMN i;
INSERT INTO backup_disks SELECT * FROM disks;
COMMIT;
SQL
sqlite3 "$SENDENSE_HOME/catalog.db" "SELECT count(*) || ' backups in the catalog' FROM backup_jobs"
hyperfine --warmup 5 --runs 50 --shell=none "$ctl --help" "$ctl backup list" "$ctl backup list --vm web --limit 20"
