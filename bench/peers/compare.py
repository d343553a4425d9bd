#!/usr/bin/env python3
"""Compares Lair with llama.cpp and ik_llama.cpp: same files, same machine, same threads, in turn.

usage: compare.py --lair PROGRAM --peers DIR [options] MODEL.gguf [MODEL.gguf ...]

DIR is what `install.sh` made. Each round runs every engine once, one after another, each in a process of its own, so that a
noisy machine hurts all of them; a figure is the median of the rounds, with the smallest and the largest. While a process
runs, the script watches how much of the machine others took, and says so. README.md says what the rows are.
"""
import argparse, datetime, json, pathlib, shlex, statistics, sys, tempfile, time
import machine
from lair_runs import Lair
from lookup import measure_lookup
from machine import Failed, run_measured
from report import markdown

ROWS = ("prefill", "decode", "depth", "streams", "start", "memory", "lookup")
PEERS = {"llama.cpp": "llama_cpp", "ik_llama.cpp": "ik_llama_cpp"}
WORKER = pathlib.Path(__file__).with_name("peer_worker.py")


class Peer:
    """One of the peers, in its own environment."""

    def __init__(self, name, folder):
        self.name = name
        self.python = pathlib.Path(folder) / PEERS[name] / "bin" / "python"
        if not self.python.exists():
            sys.exit(f"{self.python} does not exist; make it with {WORKER.with_name('install.sh')} {folder}")

    def run(self, plan):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(plan, file)
            file.flush()
            watched = run_measured([self.python, WORKER, self.name, file.name], timeout_s=3600)
        return json.loads(watched["output"]), watched

    def describe(self):
        return self.run({})[0]

    def measure(self, model, plan, prompts):
        plan = {**plan, "model": str(model), "prompt": prompts["ids"], "start_prompt": prompts["start_ids"]}
        result, watched = self.run(plan)
        return result, [watched]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL.gguf")
    parser.add_argument("--lair", required=True, help="the program to compare")
    parser.add_argument("--peers", required=True, help="the folder that install.sh filled")
    parser.add_argument("--engines", default="Lair,llama.cpp,ik_llama.cpp", help="which, in which order")
    parser.add_argument("--rows", default="prefill,decode,start,memory", help=f"of {','.join(ROWS)}")
    parser.add_argument("--threads", default="2", help="one or several numbers, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS",
                        help="wait so long before each engine: hosts of virtual machines take free memory back after some two")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=128, help="tokens to decode")
    parser.add_argument("--depths", default="8192", help="tokens before those that are decoded")
    parser.add_argument("--streams", default="4,8")
    parser.add_argument("--states", help="a folder that keeps the peers' caches at depth from run to run")
    parser.add_argument("--weight-cache", type=pathlib.Path, metavar="FOLDER",
                        help="Lair keeps packed weights there; Lair without it is measured as well")
    parser.add_argument("--title", default="Lair beside its peers")
    parser.add_argument("--json", type=pathlib.Path, help="where to write every single value")
    parser.add_argument("--markdown", type=pathlib.Path, help="where to write the tables; they are printed anyway")
    options = parser.parse_args()
    options.rows = options.rows.split(",")
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for model in options.models:
        if not model.exists():
            parser.error(f"{model} does not exist")
    for name in ("threads", "depths", "streams"):
        setattr(options, name, [int(part) for part in getattr(options, name).split(",")])
    return options


def plan_of(options, threads, states):
    """What is to be measured; the peers' worker reads it as it is."""
    return {"threads": threads, "rows": [row for row in options.rows if row != "lookup"], "prompt_tokens": options.prompt,
            "decode": options.decode, "depths": options.depths,
            "streams": options.streams, "stream_prompt": 125, "stream_answer": 64, "states": states}


def wanted(row, rows):
    """Whether a measured figure belongs to a wanted row: `streams 4` belongs to `streams`."""
    return row.split()[0] in rows


def compare(engines, lair, model, plan, rounds, pause_s):
    """All rounds on one model with one number of threads: values by row and engine, and what was watched."""
    prompts = lair.prompts(model, plan)
    values, watches, failures = {}, [], {}
    for number in range(rounds):
        for engine in engines:
            if engine.name in failures:
                continue
            time.sleep(pause_s)
            try:
                result, watched = engine.measure(model, plan, prompts)
            except Failed as failure:
                # One engine that cannot run a model is a finding, and no reason to lose the others' figures.
                failures[engine.name] = str(failure)
                print(f"{model.name}, {engine.name}: {failure}", file=sys.stderr, flush=True)
                continue
            watches += watched
            for row, value in result.items():
                if wanted(row, plan["rows"]):
                    values.setdefault(row, {}).setdefault(engine.name, []).append(value)
            figures = ", ".join(f"{row} {value:.4g}" for row, value in result.items() if wanted(row, plan["rows"]))
            load = max(watch["other_load"] for watch in watched)
            print(f"{model.name} {plan['threads']} threads, round {number + 1}, {engine.name}: {figures}"
                  f" (others {load:.0%})", file=sys.stderr, flush=True)
    return {"model": model.name, "size_bytes": model.stat().st_size, "threads": plan["threads"], "rounds": rounds,
            "rows": {row: {name: summary(of) for name, of in values[row].items()}
                     for row in sorted(values, key=lambda row: ROWS.index(row.split()[0]))},
            "load": load_summary(watches), "failures": failures}


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def load_summary(watches):
    """How much of the processors others and the host took: the median and the worst of all processes."""
    return {name: {"median": statistics.median(watch[name] for watch in watches), "max": max(watch[name] for watch in watches)}
            for name in ("other_load", "steal")} if watches else {}


def main():
    options = arguments()
    lair = Lair(options.lair, weight_cache=options.weight_cache)
    engines = [lair if name == "Lair" else Peer(name, options.peers) for name in options.engines.split(",")]
    if options.weight_cache:
        engines.append(Lair(options.lair, name="Lair that packs"))
    # Paths of this machine say nothing to a reader of the results.
    command = ["compare.py", *(pathlib.Path(part).name for part in sys.argv[1:])]
    report = {"title": options.title, "date": datetime.date.today().isoformat(), "machine": machine.describe(),
              "command": shlex.join(command), "engines": {engine.name: engine.describe() for engine in engines},
              "comparisons": [], "lookup": []}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            for threads in options.threads:
                plan = plan_of(options, threads, options.states or folder)
                if plan["rows"]:
                    report["comparisons"].append(compare(engines, lair, model, plan, options.rounds, options.pause))
                if "lookup" in options.rows:
                    report["lookup"].append(measure_lookup(lair, model, threads, options.rounds))
                # Written after each model, so that what was measured is not lost if the next one fails.
                write(report, options)
    print(markdown(report))


def write(report, options):
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(report))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
