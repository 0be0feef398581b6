#!/usr/bin/env python3
"""Fills a mounted file system, and changes it from state to state: always the same for the same arguments.

    fill.py fill FOLDER FILES       FILES small files, and of everything else some
    fill.py change FOLDER STATE     what happens between state STATE - 1 and STATE (1 to 5)
    fill.py fragment FOLDER         a full volume whose holes are filled again: many extents, of the tables too

What a file system can't hold (a device on NTFS, an attribute that is too large, a time) is left out; what it must hold
is asserted by the test from the list that `list.py` makes of a mount.
"""

import errno
import os
import random
import socket
import stat
import struct
import sys

# What a file system may refuse to hold.
REFUSED = {errno.ENOTSUP, errno.ENOSPC, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.ENOSYS, errno.EILSEQ,
           errno.ENAMETOOLONG, errno.ERANGE, errno.EOVERFLOW, errno.EIO, errno.EOPNOTSUPP, errno.EMLINK, errno.EEXIST, errno.ENOENT}


def maybe(action, *arguments, **options):
    """Does something that not every file system can."""
    try:
        return action(*arguments, **options)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return None


def noise(seed, length):
    """Bytes that do not compress, the same for the same seed. With CORPUS_SMALL they do, for what is kept in the tree."""
    if "CORPUS_SMALL" in os.environ:
        return text(seed, length)
    return random.Random(seed).randbytes(length)


def text(seed, length):
    """Bytes that compress."""
    line = b"line %d of a text that repeats itself\n" % seed
    return (line * (length // len(line) + 1))[:length]


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def put(path, offset, content):
    """Writes into a file, which is made where it is not there."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(fd, content, offset)
    finally:
        os.close(fd)


def cut(path, length):
    """Cuts or extends a file. By an open file: truncate(2) of one whose data are in its inode (ext4's inline_data) is what
    Linux 6.18 falls over, and every later sync(2) of the machine with it."""
    with open(path, "rb+") as file:
        file.truncate(length)


def attribute(path, name, value):
    maybe(os.setxattr, path, name, value, follow_symlinks=False)


def acl(*entries):
    """An ACL as the kernel takes it: (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
ACCESS = acl((1, 6, NOBODY), (2, 6, 1000), (2, 4, 123456), (4, 4, NOBODY), (8, 7, 70000), (16, 7, NOBODY), (32, 0, NOBODY))
DEFAULT = acl((1, 7, NOBODY), (2, 7, 1000), (4, 5, NOBODY), (8, 4, 5), (16, 7, NOBODY), (32, 5, NOBODY))


def small_files(root, files):
    for index in range(files):
        folder = os.path.join(root, b"folder %d" % (index // 100))
        if index % 100 == 0:
            os.mkdir(folder)
        path = os.path.join(folder, b"file-%d-" % index + b"n" * (index % 60))
        length = index * 37 % 9000
        write(path, noise(index, length) if index % 2 else text(index, length))
        if index % 10 == 0:
            maybe(os.link, path, os.path.join(folder, b"link to %d" % index))
            attribute(path, "user.number", b"%d" % index)
        if index % 7 == 0:
            maybe(os.lchown, path, 1000 + index, 70000 + index)
            maybe(os.chmod, path, [0o600, 0o640, 0o755, 0o444][index % 4])
        if index % 3 == 0:
            maybe(os.utime, path, ns=(10**18 + index * 1234567891, 10**18 + index * 987654321))


def names(root):
    folder = os.path.join(root, b"odd names")
    os.mkdir(folder)
    for name in [b"\xff\xfe\x80 not UTF-8", "Ünïcödé ✓ 漢字 😀".encode(), b"a\nb\tc", b"back\\slash", b"x" * 255, b" ",
                 b"...", b"UPPER", b"a very long name of a file with several dots.in.it.tar.gz", b"e\xcc\x81 decomposed"]:
        maybe(write, os.path.join(folder, name), name)
    deep = os.path.join(root, b"deep")
    for level in range(40):
        deep = os.path.join(deep, b"level %d" % level)
    os.makedirs(deep)
    write(os.path.join(deep, b"bottom"), b"here")


def many(root, count):
    folder = os.path.join(root, b"many")
    os.mkdir(folder)
    for index in range(count):
        path = os.path.join(folder, b"entry %d of a large folder" % (index * 7919 % 10007))
        write(path, b"%d" % index if index % 5 == 0 else b"")


def nodes(root):
    folder = os.path.join(root, b"nodes")
    os.mkdir(folder)
    for length in [1, 59, 60, 61, 155, 200, 500, 1023]:
        maybe(os.symlink, b"t" * length, os.path.join(folder, b"symlink %d" % length))
    maybe(os.symlink, b"\xff/../\xfe", os.path.join(folder, b"odd link"))
    for name, kind, major, minor in [(b"char", stat.S_IFCHR, 5, 1), (b"block", stat.S_IFBLK, 259, 300),
                                     (b"large numbers", stat.S_IFCHR, 500, 70000), (b"pipe", stat.S_IFIFO, 0, 0)]:
        maybe(os.mknod, os.path.join(folder, name), kind | 0o620, os.makedev(major, minor))
    here = os.getcwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as unix:
        maybe(unix.bind, b"socket")
    os.chdir(here)
    for index, mode in enumerate([0o4755, 0o2711, 0o1777, 0o000]):
        path = os.path.join(folder, b"mode %o" % mode)
        write(path, b"")
        maybe(os.lchown, path, 70000 + index, 4000000000)
        maybe(os.chmod, path, mode)
    for name in [b"empty", b"setgid"]:
        os.mkdir(os.path.join(folder, name))
    maybe(os.chmod, os.path.join(folder, b"setgid"), 0o2775)


def holes(root):
    folder = os.path.join(root, b"holes")
    os.mkdir(folder)

    def at(name):
        return os.path.join(folder, name)

    for index in range(600):
        put(at(b"fragments"), index * 8192, noise(index, 4096))
    put(at(b"hole at the end"), 100000, noise(1, 5000))
    cut(at(b"hole at the end"), 1000001)
    write(at(b"empty but long"), b"")
    maybe(cut, at(b"empty but long"), 12345678)
    for offset in [0, 70 << 20, (1 << 30) + 12345, (5 << 30) - 5000]:
        maybe(put, at(b"sparse"), offset, noise(offset, 5000))
    write(at(b"allocated"), b"")
    fd = os.open(at(b"allocated"), os.O_RDWR)
    maybe(os.posix_fallocate, fd, 0, 300000)
    os.pwrite(fd, noise(3, 10000), 50000)
    os.close(fd)
    write(at(b"large"), noise(9, 3 << 20))
    write(at(b"text"), text(9, 1 << 20))
    for length in [1, 59, 60, 61, 100, 155, 160, 511, 513, 600, 2000, 4095, 4096, 4097]:
        write(at(b"tiny %d" % length), noise(length, length))


def attributes(root):
    folder = os.path.join(root, b"attributes")
    os.mkdir(folder)
    path = os.path.join(folder, b"some")
    write(path, b"content")
    for name, value in [("user.empty", b""), ("user.some", b"value"), ("trusted.thing", b"\0\1\2"),
                        ("security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)),
                        ("user.longer", noise(5, 600))]:
        attribute(path, name, value)
    for length in [1000, 3500, 20000, 60000]:
        path = os.path.join(folder, b"large %d" % length)
        write(path, b"")
        attribute(path, "user.large", noise(length, length))
        attribute(path, "user.shared", noise(1, 900))
    path = os.path.join(folder, b"of many")
    write(path, b"")
    for index in range(60):
        attribute(path, "user.a name of some length %d" % index, noise(index, 40))
    path = os.path.join(folder, b"folder")
    os.mkdir(path)
    attribute(path, "user.comment", noise(6, 200))
    path = os.path.join(folder, b"link")
    if maybe(os.symlink, b"somewhere", path):
        attribute(path, "trusted.of.a.link", b"yes")
    path = os.path.join(folder, b"acl")
    write(path, b"acl")
    attribute(path, "system.posix_acl_access", ACCESS)
    path = os.path.join(folder, b"default acl")
    os.mkdir(path)
    attribute(path, "system.posix_acl_default", DEFAULT)
    write(os.path.join(path, b"inherits"), b"")


def times(root):
    folder = os.path.join(root, b"times")
    os.mkdir(folder)
    for seconds, nanos in [(-2000000000, 1), (-1, 999999999), (0, 0), (2147483647, 5), (2147483648, 6),
                           (6000000000, 123456789), (15032385535, 7)]:
        for name, make in [(b"file", lambda path: write(path, b"then")), (b"folder", os.mkdir)]:
            path = os.path.join(folder, b"%s at %d" % (name, seconds))
            make(path)
            moment = seconds * 10**9 + nanos
            maybe(os.utime, path, ns=(moment, moment))
    link = os.path.join(folder, b"an old link")
    try:
        os.symlink(b"x", link)
        os.utime(link, ns=(-77 * 10**9 + 77, -77 * 10**9 + 77), follow_symlinks=False)
    except OSError as error:
        if error.errno not in REFUSED:
            raise


def fill(root, files):
    small_files(root, files)
    names(root)
    many(root, 1500 if files >= 2000 else 200)
    nodes(root)
    holes(root)
    attributes(root)
    times(root)


def small(root):
    """All small files, sorted."""
    folders = [os.path.join(root, name) for name in os.listdir(root) if name.startswith(b"folder ")]
    return sorted(os.path.join(folder, name) for folder in folders for name in os.listdir(folder))


def change(root, state):
    chance = random.Random(state)
    for index, path in enumerate(path for path in small(root) if stat.S_ISREG(os.lstat(path).st_mode)):
        kind = chance.randrange(24)
        if kind == 0:
            os.unlink(path)
        elif kind == 1:
            os.rename(path, path[:-1] + b"-renamed-%d" % state)
        elif kind == 2:
            with open(path, "ab") as file:
                file.write(noise(state * 10007 + index, chance.randrange(30000)))
        elif kind == 3:
            put(path, chance.randrange(5000), noise(index + state, 700))
        elif kind == 4:
            cut(path, chance.randrange(12000))
        elif kind == 5:
            maybe(os.chmod, path, chance.randrange(0o1000))
            maybe(os.lchown, path, chance.randrange(100000), state)
        elif kind == 6:
            attribute(path, "user.state", b"%d" % state)
            attribute(path, "user.number", noise(state, chance.randrange(1200)))
        elif kind == 7:
            maybe(os.link, path, path[:-1] + b"-linked-%d" % state)
    news = os.path.join(root, b"folder of state %d" % state)
    os.mkdir(news)
    for index in range(40):
        write(os.path.join(news, b"new %d" % index), noise(state * 100 + index, index * 500))
    maybe(os.symlink, b"../many", os.path.join(news, b"symlink"))
    folder = os.path.join(root, b"many")
    for index, name in enumerate(sorted(os.listdir(folder))):
        if index % 25 == state:
            os.unlink(os.path.join(folder, name))
    for index in range(80):
        write(os.path.join(folder, b"later entry %d of state %d" % (index, state)), b"")
    place = os.path.join(root, b"holes")
    maybe(put, os.path.join(place, b"sparse"), (state << 29) + 777, noise(state, 9000))
    for index in range(0, 600, 9):
        put(os.path.join(place, b"fragments"), (index + state) * 8192 + 4096 * (state % 2), noise(index + state, 3000))
    put(os.path.join(place, b"large"), state * 300000, noise(state, 200000))
    put(os.path.join(place, b"text"), state * 100000, text(state, 70000))
    cut(os.path.join(place, b"hole at the end"), 1000001 - state * 150000)
    fallocate = os.path.join(place, b"allocated")
    fd = os.open(fallocate, os.O_RDWR)
    maybe(os.posix_fallocate, fd, 300000 * state, 200000)
    os.pwrite(fd, noise(state, 5000), 290000 * state)
    os.close(fd)
    attribute(os.path.join(root, b"attributes", b"of many"), "user.of state %d" % state, noise(state, 300))
    attribute(os.path.join(root, b"attributes", b"some"), "user.longer", noise(state, 100 * state))
    if state == 3:
        deep = os.path.join(root, b"deep", b"level 0", b"level 1")
        os.rename(os.path.join(deep, b"level 2"), os.path.join(root, b"moved up"))


def fragment(root):
    folder = os.path.join(root, b"small")
    os.mkdir(folder)
    chance = random.Random(7)

    def made(path, length):
        try:
            with open(path, "wb", 0) as file:
                file.write(noise(length, length))
            return True
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False

    count = 0
    while count < 2500 and made(os.path.join(folder, b"%d" % count), 2048):
        count += 1
    pad = os.open(os.path.join(root, b"pad"), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while True:
            os.write(pad, b"p" * 4096)
    except OSError:
        pass
    maybe(os.close, pad)
    for index in range(count):
        if chance.random() < 0.6:
            os.unlink(os.path.join(folder, b"%d" % index))
    made(os.path.join(root, b"many extents"), 700000)
    os.mkdir(os.path.join(root, b"names"))
    index = 0
    while index < 1500 and made(os.path.join(root, b"names", b"%d" % index), index % 300):
        index += 1
    os.unlink(os.path.join(root, b"pad"))


def main():
    os.umask(0o022)
    action, root = sys.argv[1], os.fsencode(sys.argv[2])
    if action == "fill":
        fill(root, int(sys.argv[3]))
    elif action == "change":
        change(root, int(sys.argv[3]))
    elif action == "fragment":
        fragment(root)
    else:
        sys.exit(__doc__)


main()
