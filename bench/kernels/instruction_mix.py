#!/usr/bin/env python3
"""What the compiler made of the inner loops of a release build: runs of products, and vectors that go to the stack between them.

    bench/kernels/instruction_mix.py target/release/lair

A run is a series of instructions that multiply with at most eight others between two of them. Each family of kernels may have so many
references of vectors to the stack in a run, for each eight products; more means that a new compiler ran out of registers. Exit code 1
then, 2 if the program cannot be read. Needs `objdump` (binutils).
"""

import collections
import re
import subprocess
import sys

GAP = 8
RUN_MIN = 8
# Part of the function's name, the instruction that multiplies, references to the stack that are taken for each eight products (None:
# reported only, for sixteen registers do not hold what these loops need).
FAMILIES = [
    ("kernel_avx512_tile::tile", "vpdpbusd", 0.0),
    ("kernel_avx512_wide::tile", "vpdpbusd", 0.0),
    ("kernel_avx512::", "vpdpbusd", 5.0),
    ("kernel_avx512_direct::", "vpdpbusd", 1.0),
    ("kernel_avx_vnni::", "vpdpbusd", 0.5),
    ("float_kernel::avx512::", "vfmadd", 2.0),
    ("kernel_avx2::", "vpmaddubsw", None),
]


def functions(program):
    """Names of the program's functions with their instructions."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", "-M", "intel", program]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    name, body = None, []
    for line in listing.splitlines():
        begin = re.match(r"^[0-9a-f]+ <(.*)>:$", line)
        if begin:
            if name and "cpu::" in name:
                yield name, body
            name, body = begin[1], []
        elif ":\t" in line:
            body.append(line.split(":\t", 1)[1])
    if name and "cpu::" in name:
        yield name, body


def runs(body, multiply):
    """Where products stand close together: first place, last place, how many."""
    found = []
    for place, text in enumerate(body):
        if multiply in text:
            if found and place - found[-1][1] <= GAP + 1:
                found[-1][1:] = [place, found[-1][2] + 1]
            else:
                found.append([place, place, 1])
    return [run for run in found if run[2] >= RUN_MIN]


def spills(body, first, last):
    """Vectors that go to the stack or come from there."""
    is_spill = lambda text: re.search(r"[xyz]mm\d", text) and "[rsp" in text
    return sum(1 for text in body[first : last + 1] if is_spill(text))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        listing = list(functions(sys.argv[1]))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{sys.argv[1]} cannot be read: {error}", file=sys.stderr)
        sys.exit(2)
    has_failed = False
    for family, multiply, allowed in FAMILIES:
        table = collections.Counter()
        for name, body in listing:
            if f"cpu::{family}" in name:
                for first, last, count in runs(body, multiply):
                    table[count, spills(body, first, last)] += 1
        worst = max((8 * stack / count for count, stack in table), default=None)
        total = sum(table.values())
        verdict = "not found" if worst is None else f"{total} runs, at worst {worst:.2f} of the stack for 8 products"
        is_bad = worst is None or (allowed is not None and worst > allowed)
        has_failed |= is_bad
        limit = "reported only" if allowed is None else f"{allowed} allowed"
        print(f"{'WRONG ' if is_bad else ''}{family:28} {multiply:12} {verdict} ({limit})")
    sys.exit(1 if has_failed else 0)


main()
