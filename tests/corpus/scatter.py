#!/usr/bin/env python3
"""Writes a volume onto the disks that it lies on: scatter.py VOLUME PIECES FOLDER

Each line of PIECES is a disk, an offset and a length in bytes; one after another they are the volume. The disks are
FOLDER/disk0.raw and so on. Zeros are not written.
"""

import sys
from contextlib import ExitStack

BLOCK = 4096


def main():
    volume, pieces, folder = sys.argv[1:]
    disks = {}
    with ExitStack() as stack:
        source = stack.enter_context(open(volume, "rb"))
        for line in open(pieces):
            disk, start, length = map(int, line.split())
            if disk not in disks:
                disks[disk] = stack.enter_context(open(f"{folder}/disk{disk}.raw", "rb+", buffering=0))
            while length > 0:
                piece = source.read(min(length, 1 << 20))
                if not piece:
                    break
                for at in range(0, len(piece), BLOCK):
                    block = piece[at:at + BLOCK]
                    if block.count(0) != len(block):
                        disks[disk].seek(start + at)
                        disks[disk].write(block)
                start += len(piece)
                length -= len(piece)


main()
