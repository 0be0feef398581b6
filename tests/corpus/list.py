#!/usr/bin/env python3
"""Lists a folder, everything that can be known of what is in it: one JSON object a line, in the order of the paths' bytes.

    list.py FOLDER

    path     from the folder on, in Base64 (the folder itself: "/")
    type     file, directory, symlink, char_device, block_device, fifo, socket
    mode     permission bits; uid, gid, size, links (bytes, names)
    group    the first path (Base64) of the same file
    mtime, ctime, atime   nanoseconds since 1970
    target   of a symbolic link, in Base64
    device   major and minor number
    xattrs   name -> BLAKE2 of the value, and its length
    content  BLAKE2 over every block of 4 KiB that is not all zeros, with its number
    blocks   bytes that are allocated
    now      true where `mtime` and `ctime` are the time of the look: btrfs, the place of a subvolume that a snapshot does not have

What can't be read has `error` instead of what is missing.
"""

import base64
import hashlib
import json
import os
import stat
import sys

BLOCK = 4096
READ = 1 << 20
ZEROS = bytes(BLOCK)
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char_device",
         stat.S_IFBLK: "block_device", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def text(path):
    return base64.b64encode(path).decode()


def digest(value):
    return hashlib.blake2b(value, digest_size=16).hexdigest()


def next_data(fd, offset):
    """The next offset that may hold data; nothing where there is none."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError:
        return None


def content(path, size):
    total = hashlib.blake2b(digest_size=16)
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME if os.geteuid() == 0 else os.O_RDONLY)
    try:
        offset = 0
        while offset < size:
            offset = next_data(fd, offset)
            if offset is None:
                break
            offset -= offset % BLOCK
            piece = os.pread(fd, READ, offset)
            if not piece:
                break
            for start in range(0, len(piece), BLOCK):
                block = piece[start:start + BLOCK]
                if block != ZEROS[:len(block)]:
                    total.update((offset + start).to_bytes(8, "little"))
                    total.update(block)
            offset += len(piece)
    finally:
        os.close(fd)
    return total.hexdigest()


def xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    found = {}
    for name in names:
        value = os.getxattr(path, name, follow_symlinks=False)
        found[os.fsencode(name).decode("utf-8", "backslashreplace")] = [digest(value), len(value)]
    return found


def describe(path, inside, groups):
    try:
        info = os.lstat(path)
    except OSError as error:
        return {"path": text(inside), "type": "unknown", "error": str(error)}, "unknown"
    kind = KINDS[stat.S_IFMT(info.st_mode)]
    entry = {"path": text(inside), "type": kind, "mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
             "size": info.st_size, "links": info.st_nlink, "mtime": info.st_mtime_ns, "ctime": info.st_ctime_ns,
             "atime": info.st_atime_ns, "blocks": info.st_blocks * 512}
    # BTRFS_EMPTY_SUBVOL_DIR_OBJECTID. Elsewhere it is the number of a root folder.
    if kind == "directory" and info.st_ino == 2 and inside != b"/":
        entry["now"] = True
    entry["group"] = groups.setdefault((info.st_dev, info.st_ino), entry["path"])
    try:
        if kind == "symlink":
            entry["target"] = text(os.readlink(path))
        elif kind in ("char_device", "block_device"):
            entry["device"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
        elif kind == "file":
            entry["content"] = content(path, info.st_size)
        entry["xattrs"] = xattrs(path)
    except OSError as error:
        entry["error"] = str(error)
    return entry, kind


def walk(root, inside, groups, out):
    # Paths of any depth: from an open folder on, names only.
    path = root + inside if inside != b"/" else root
    entry, kind = describe(path, inside, groups)
    names = []
    if kind == "directory":
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            entry["error"] = str(error)
    out.write(json.dumps(entry) + "\n")
    for name in names:
        walk(root, (inside if inside != b"/" else b"") + b"/" + name, groups, out)


def main():
    sys.setrecursionlimit(10000)
    walk(os.fsencode(sys.argv[1]).rstrip(b"/"), b"/", {}, sys.stdout)


main()
