#!/usr/bin/env python3
"""Compares decoding with that of llama.cpp and ik_llama.cpp a few tokens at a time, all engines loaded, in turn.

usage: decode_in_turn.py --turns PROGRAM --peers DIR [options] MODEL.gguf [MODEL.gguf ...]
       decode_in_turn.py --again RESULT.json          prints the table of an earlier run

PROGRAM is `lair-engine`'s example `decode_turns`, DIR what `install.sh` made. On a shared host the memory's speed changes by a factor
of two from second to second, so runs of several seconds one after another compare what the host was doing. Here each cycle has a plain
read of as many bytes as a token reads, then a few tokens of each engine, all within some tenths of a second. A ratio is that of one
cycle; the figure is the median of all cycles, with the quartiles. Where the memory had two speeds, cycles of each are
a line of their own. What share of the plain read a peer reaches says about how much
faster than it anything could be that reads the same weights.
"""
import argparse, datetime, json, pathlib, statistics, subprocess, sys, tempfile, time
import machine
from compare import PEERS, WORKER

# Threads that wait for more work go to sleep within this.
PAUSE_S = 0.01
# Cycles before those that count.
WARM_UP = 3
# Fewer cycles of one speed of the memory are not told apart.
FEWEST = 8


class Engine:
    """A process that has a model loaded and does what a line tells it to."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.answer()
        if not self.ready.startswith("ready"):
            sys.exit(f"{name} did not start: {self.ready!r}")

    def answer(self):
        return self.process.stdout.readline().strip()

    def ask(self, line):
        time.sleep(PAUSE_S)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        if not answer:
            sys.exit(f"{self.name} ended instead of answering {line!r}")
        return float(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def peer(name, options, model, folder):
    plan = pathlib.Path(folder) / f"{PEERS[name]}.json"
    plan.write_text(json.dumps({"model": str(model), "threads": options.threads, "rows": ["turns"], "depth": options.depth,
                                "states": options.states or folder}))
    return Engine(name, [pathlib.Path(options.peers) / PEERS[name] / "bin" / "python", WORKER, name, plan])


def measure(options, model, folder):
    """Tokens a second of each engine and bytes a second of the plain read, cycle by cycle."""
    lair = Engine("Lair", [options.turns, model, str(options.threads), str(options.depth)])
    engines = [lair] + [peer(name, options, model, folder) for name in options.engines.split(",")]
    read, rates = [], {engine.name: [] for engine in engines}
    for cycle in range(WARM_UP + options.cycles):
        found = lair.ask("read")
        # Who follows the read is not always the same.
        order = engines[cycle % len(engines):] + engines[: cycle % len(engines)]
        speeds = {engine.name: options.tokens / engine.ask(f"decode {options.tokens}") for engine in order}
        if cycle >= WARM_UP:
            read.append(found)
            for name, speed in speeds.items():
                rates[name].append(speed)
    for engine in engines:
        engine.end()
    return {"model": model.name, "weight_bytes": int(lair.ready.split()[1]), "read": read, "rates": rates}


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def cell(values, decimals):
    middle, low, high = quartiles(values)
    return f"{middle:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def parts(read):
    """Cycles by the memory's speed: all of them, or the slow and the fast ones where these are few tenths apart and not few."""
    cycles = sorted(range(len(read)), key=lambda cycle: read[cycle])
    slow, fast = read[cycles[len(cycles) // 10]], read[cycles[-1 - len(cycles) // 10]]
    if fast < 1.3 * slow:
        return [cycles]
    between = (slow * fast) ** 0.5
    split = [[cycle for cycle in cycles if (read[cycle] < between) == is_slow] for is_slow in (True, False)]
    return split if min(map(len, split)) >= FEWEST else [cycles]


def rows(result):
    """A line of the table for each peer and speed of the memory."""
    for cycles in parts(result["read"]):
        read = [result["read"][cycle] for cycle in cycles]
        rates = {name: [rates[cycle] for cycle in cycles] for name, rates in result["rates"].items()}
        # Of the plain read of the same cycle, in percent.
        shares = {name: [100 * rate * result["weight_bytes"] / read for rate, read in zip(of, read)]
                  for name, of in rates.items()}
        for name, of in rates.items():
            if name != "Lair":
                ratios = [ours / theirs for ours, theirs in zip(rates["Lair"], of)]
                yield (f"| {result['model']} | {len(cycles)} | {cell([speed / 1e9 for speed in read], 1)} | {cell(rates['Lair'], 1)} | "
                       f"{cell(shares['Lair'], 0)} | {name} | {cell(of, 1)} | {cell(shares[name], 0)} | **{cell(ratios, 2)}** |")


HEAD = ("| model | cycles | plain read, GB/s | Lair, tokens/s | of the read, % | peer | tokens/s | of the read, % | ratio |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--turns", help="the example decode_turns")
    parser.add_argument("--peers", help="the folder that install.sh filled")
    parser.add_argument("--again", type=pathlib.Path, metavar="RESULT.json", help="what --json wrote earlier")
    parser.add_argument("--engines", default=",".join(PEERS), help="which peers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depth", type=int, default=0, help="tokens before those that are decoded")
    parser.add_argument("--states", help="a folder that keeps the peers' caches at depth from run to run")
    parser.add_argument("--tokens", type=int, default=4, help="tokens of a turn")
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--json", type=pathlib.Path, help="where to write every single value")
    options = parser.parse_args()
    if options.again:
        print("\n".join([HEAD, *(row for result in json.loads(options.again.read_text())["results"] for row in rows(result))]))
        return
    if not (options.models and options.turns and options.peers):
        parser.error("--turns, --peers and models are needed, or --again")
    described = machine.describe()
    print(f"{described['cores']} cores of {described['processor']}; {datetime.date.today().isoformat()}; {options.threads} threads, "
          f"depth {options.depth}, {options.cycles} cycles of {options.tokens} tokens each; medians (quartiles)\n\n{HEAD}", flush=True)
    results = []
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(options, model, folder))
        print("\n".join(rows(results[-1])), flush=True)
        if options.json:
            report = {"machine": described, "threads": options.threads, "depth": options.depth, "tokens": options.tokens}
            options.json.write_text(json.dumps({**report, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
