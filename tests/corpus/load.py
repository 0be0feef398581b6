#!/usr/bin/env python3
"""Writes to a folder of a mounted file system until it is killed: files made, grown, cut, renamed, linked and removed, and
some of it flushed. Prints a line after each round, so that whoever copies the disk meanwhile knows that work is under way.

    load.py FOLDER SEED
"""

import os
import random
import sys

FLUSH_EVERY = 25


def step(root, chance, number):
    folder = os.path.join(root, b"%d" % chance.randrange(6))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, b"a file under load %d" % chance.randrange(60))
    kind = chance.randrange(8)
    if kind <= 2:
        with open(path, "wb") as file:
            length = chance.randrange(20000)
            # As in `fill.py`.
            file.write(b"%d " % number * (length // 4) if "CORPUS_SMALL" in os.environ else chance.randbytes(length))
    elif kind == 3:
        with open(path, "ab") as file:
            file.write(b"%d\n" % number * chance.randrange(500))
    elif kind == 4 and os.path.exists(path):
        # By an open file, as `fill.py` says.
        with open(path, "rb+") as file:
            file.truncate(chance.randrange(30000))
    elif kind == 5 and os.path.exists(path):
        os.rename(path, os.path.join(root, b"renamed %d" % chance.randrange(40)))
    elif kind == 6 and os.path.exists(path):
        os.unlink(path)
    elif kind == 7 and os.path.exists(path):
        try:
            os.link(path, os.path.join(root, b"linked %d" % number))
            os.setxattr(path, "user.load", b"%d" % number)
        except OSError:
            pass
    if number % FLUSH_EVERY == 0 and os.path.exists(path):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        print(number, flush=True)


def main():
    root = os.fsencode(sys.argv[1])
    os.makedirs(root, exist_ok=True)
    chance = random.Random(int(sys.argv[2]))
    number = 0
    while True:
        number += 1
        try:
            step(root, chance, number)
        except OSError as error:
            # A full volume is no reason to end.
            print(f"{number} {error}", flush=True)


main()
