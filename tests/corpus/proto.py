#!/usr/bin/env python3
"""Describes a folder as `mkfs.xfs -p` wants it (the format is that of mkfs.xfs(8), under -p). A description can't have
spaces in names: they become underscores, in the folder too.

    proto.py FOLDER
"""

import os
import stat
import sys

LETTERS = {stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}


def line(info, rest):
    mode = info.st_mode
    setuid = "u" if mode & 0o4000 else "-"
    setgid = "g" if mode & 0o2000 else "-"
    return b"%s%s%s%03o %d %d %s\n" % (LETTERS[stat.S_IFMT(mode)].encode(), setuid.encode(), setgid.encode(), mode & 0o777,
                                       info.st_uid, info.st_gid, rest)


def describe(folder, out):
    for old in os.listdir(folder):
        os.rename(os.path.join(folder, old), os.path.join(folder, old.replace(b" ", b"_")))
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode):
            out.write(name + b" " + line(info, b""))
            describe(path, out)
        elif stat.S_ISLNK(info.st_mode):
            out.write(name + b" " + line(info, os.readlink(path)))
        elif stat.S_ISREG(info.st_mode):
            out.write(name + b" " + line(info, path))
        elif stat.S_ISFIFO(info.st_mode):
            out.write(name + b" " + line(info, b""))
        else:
            out.write(name + b" " + line(info, b"%d %d" % (os.major(info.st_rdev), os.minor(info.st_rdev))))
    out.write(b"$\n")


def main():
    root = os.fsencode(sys.argv[1])
    out = sys.stdout.buffer
    out.write(b"/dev/null\n0 0\n" + line(os.lstat(root), b""))
    describe(root, out)


main()
