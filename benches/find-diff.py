#!/usr/bin/env python3
"""Finding a name across 30 points, and the difference of two points: sendense-ctl beside its peers, in one run.

  benches/find-diff.py [--work FOLDER] [--runs 3] [--files 100000] [--keep] [--reuse FOLDER] [--only find|diff] [--no-libguestfs]

As root (the peers mount). Makes an ext4 of so many files in folders as a Debian system has them, with a full and 29
incremental backups of it, a few files changed between any two and 1 % of all between the last two. The peers read the
same points: converted by qemu-img and mounted by the kernel through a loop device, and libguestfs where it is installed.
Prints one Markdown table a task, as benches/bench.py. --keep leaves the backups, --reuse takes those of an earlier run.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench import CTL, Contender, ctl, task

POINTS = 30


def sh(script):
    subprocess.run(["bash", "-euc", script], check=True)


def mounted(disk, at, work):
    """Runs `work` while `disk` is mounted at `at`."""
    at.mkdir(exist_ok=True)
    sh(f"mount -o loop {disk} {at}")
    try:
        work(at)
    finally:
        sh(f"umount {at}")


def fill(root, count, chooser):
    """A tree of `count` files: many small ones, folders of about ten, some of them deep."""
    names = []
    for number in range(count // 10):
        folder = root / "usr" / f"share{number % 37}" / f"pkg{number % 1009}" / f"part{number}"
        folder.mkdir(parents=True)
        for file in range(10):
            path = folder / f"file-{file}.{chooser.choice(['so', 'py', 'txt', 'gz', 'conf'])}"
            path.write_bytes(chooser.randbytes(min(int(chooser.lognormvariate(7, 1.3)), 300_000)))
            names.append(path.relative_to(root))
    (root / "var/www").mkdir(parents=True)
    (root / "var/www/index.php").write_text("<?php // version 0\n")
    return names


def prepare(work, files):
    """The disk and its backups."""
    disk, at, state = work / "disk.raw", work / "mnt", work / "state"
    chooser = random.Random(1)
    sh(f"truncate -s 4G {disk}; mke2fs -q -t ext4 -F -N {files * 2} {disk}")
    names = []
    mounted(disk, at, lambda root: names.extend(fill(root, files, chooser)))
    print(f"{len(names)} files", file=sys.stderr)
    for point in range(POINTS):
        def change(root):
            share = files // 100 if point == POINTS - 1 else 50
            for name in chooser.sample(names, share):
                (root / name).write_bytes(chooser.randbytes(2000))
            if point % 7 == 0:
                (root / "var/www/index.php").write_text(f"<?php // version {point}\n")
        if point > 0:
            mounted(disk, at, change)
        ctl(state, "backup", "start", "--vm", "bench", "--compress", "--source", str(disk))


def measure(work, runs, only, libguestfs):
    """Ours and the peers."""
    at, second, state, peer = work / "mnt", work / "mnt2", work / "state", work / "peer"
    for folder in (at, second, peer):
        folder.mkdir(exist_ok=True)
    images = sorted((state / "repository/bench/disk-0").glob("*.qcow2"), key=lambda p: p.stat().st_mtime)
    environment = {"SENDENSE_HOME": str(state)}

    def ours(*arguments):
        return Contender("sendense-ctl", [CTL, *arguments], output=None, prepare=lambda: None, environment=environment)

    raw, listed = peer / "point.raw", " ".join(str(image) for image in images)
    convert = "qemu-img convert -f qcow2 -O raw -W -m 8"
    kernel_find = f"""for image in {listed}; do
        {convert} $image {raw}; mount -o loop,ro {raw} {at}
        find {at} -name index.php -exec b2sum {{}} +; umount {at}; rm {raw}; done"""
    if only != "diff":
        task("find: one name across 30 points", [
            ours("backup", "find", "index.php", "--vm", "bench", "--volume", "disk0"),
            Contender("qemu-img convert, mount, find, b2sum of each", ["bash", "-euc", kernel_find], output=None, prepare=lambda: None),
        ], runs, work, None)
    if only == "find":
        return
    before, after = images[-2], images[-1]
    other = peer / "other.raw"
    kernel_diff = f"""{convert} {before} {raw}; {convert} {after} {other}
        mount -o loop,ro {raw} {at}; mount -o loop,ro {other} {second}
        diff -rq --no-dereference {at} {second} >/dev/null || [ $? = 1 ]
        umount {at} {second}; rm {raw} {other}"""
    contenders = [
        ours("backup", "diff", "bench@latest~1", "bench@latest", "--volume", "disk0"),
        Contender("qemu-img convert, mount, diff -rq", ["bash", "-euc", kernel_diff], output=None, prepare=lambda: None),
    ]
    if libguestfs:
        contenders.append(Contender("virt-diff", ["virt-diff", "-a", str(before), "-A", str(after)], output=None,
                                    prepare=lambda: None, environment={"LIBGUESTFS_BACKEND": "direct"}, needs=["virt-diff"]))
    task("diff: two points, 1 % of the files changed", contenders, runs, work, None)
    sh(f"SENDENSE_HOME={state} {CTL} backup diff bench@latest~1 bench@latest --volume disk0 --stat >&2")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--reuse", type=Path)
    parser.add_argument("--only", choices=("find", "diff"))
    parser.add_argument("--no-libguestfs", action="store_true")
    options = parser.parse_args()
    work = options.reuse or Path(tempfile.mkdtemp(prefix="sendense-find-", dir=options.work))
    try:
        if not options.reuse:
            prepare(work, options.files)
        measure(work, options.runs, options.only, not options.no_libguestfs)
    finally:
        for mount in (work / "mnt", work / "mnt2"):
            subprocess.run(["umount", str(mount)], stderr=subprocess.DEVNULL)
        if options.keep or options.reuse:
            print(f"kept: {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
