#!/usr/bin/env python3
"""Long runs of the fuzz targets, in pieces that are written down in fuzz/ledger.csv.

usage: fuzz/long.py [--minutes 24] [--slice 240] [--jobs 1] [--targets NAME,...] [--until HH:MM] [--idle] [--show]

Each piece is one target for some seconds of the processor under a seed of its own. A row of the ledger says which sources
the piece was run on (the hash of the folders that hold the parser), so that minutes of several days add up until a parser
changes and starts again at nothing. --show only prints what each target has. Needs git, cargo and Python 3.8.
"""
import argparse
import csv
import datetime
import hashlib
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEDGER = ROOT / "fuzz" / "ledger.csv"
FIELDS = ["target", "sources", "revision", "date", "seed", "cpu_s", "inputs", "outcome"]
TEXT, STORE, SERVER = "crates/lair-text/src", "crates/lair-store/src", "crates/lair-server/src"
# target: the test program, the test's name, and the sources whose change makes its minutes void.
TARGETS = {
    "http_head": ("lair-server:fuzz", "http_head", [SERVER + "/listener.rs", SERVER + "/connections.rs", SERVER + "/server.rs", SERVER + "/guard.rs"]),
    "request_body": ("lair-server:fuzz", "request_body", [SERVER]),
    "saved_slot": ("lair-server:lib", "saved_slots::tests::fuzz_saved_slot", [SERVER + "/saved_slots.rs"]),
    "kept_page": ("lair:bin", "prompt_cache::tests::fuzz_kept_page", ["crates/lair/src/prompt_cache"]),
    "chat_template": ("lair-text:fuzz", "chat_template", [TEXT + "/template"]),
    "json_schema": ("lair-text:fuzz", "json_schema", [TEXT + "/grammar"]),
    "gbnf": ("lair-text:fuzz", "gbnf", [TEXT + "/grammar"]),
    "lark": ("lair-text:fuzz", "lark", [TEXT + "/grammar"]),
    "regex": ("lair-text:fuzz", "regex", [TEXT + "/grammar"]),
    "model_answer": ("lair-text:fuzz", "model_answer", [TEXT + "/output"]),
    "tokenizer_text": ("lair-text:fuzz", "tokenizer_text", [TEXT + "/tokenizer"]),
    "go_template": ("lair-text:fuzz", "go_template", [TEXT + "/go_template"]),
    "gguf_header": ("lair-gguf:fuzz", "gguf_header", ["crates/lair-gguf/src"]),
    "tokenizer_gguf": ("lair-text:fuzz", "tokenizer_gguf", [TEXT + "/tokenizer"]),
    "tokenizer_json": ("lair-text:fuzz", "tokenizer_json", [TEXT + "/tokenizer"]),
    "tokenizer_model": ("lair-text:fuzz", "tokenizer_model", [TEXT + "/tokenizer"]),
    "registry_answers": ("lair-store:fuzz", "registry_answers", [STORE]),
    "manifest": ("lair-store:fuzz", "manifest", [STORE + "/oci.rs", STORE + "/image_config.rs", STORE + "/catalogue.rs"]),
    "modelfile": ("lair-store:fuzz", "modelfile", [STORE + "/modelfile"]),
    "reference": ("lair-store:fuzz", "reference", [STORE + "/reference.rs", STORE + "/model_name.rs", STORE + "/digest.rs"]),
    "shard_name": ("lair-gguf:fuzz", "shard_name", ["crates/lair-gguf/src/shard_name.rs"]),
    "slm_yaml": ("lair:bin", "slm::yaml::tests::fuzz_slm_yaml", ["crates/lair/src/slm/yaml.rs"]),
}


def sources(paths):
    """A hash of all files below these paths, in the working tree."""
    state = hashlib.sha256()
    for path in paths:
        top = ROOT / path
        files = sorted(file for file in top.rglob("*") if file.is_file()) if top.is_dir() else [top]
        for file in files:
            state.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return state.hexdigest()[:12]


def rows():
    if not LEDGER.exists():
        return []
    with LEDGER.open(newline="") as file:
        return list(csv.DictReader(file))


def seconds_had(target, now):
    """Seconds that the ledger holds for these sources, and whether one of the pieces failed."""
    mine = [row for row in rows() if row["target"] == target and row["sources"] == now]
    return sum(float(row["cpu_s"]) for row in mine if row["outcome"] == "ok"), sum(row["outcome"] != "ok" for row in mine)


def built(folder, wanted):
    """The test programs, copied so that a later build does not take them away: program -> (path, crate's folder)."""
    programs = {}
    kinds = {TARGETS[name][0].split(":")[1] for name in wanted}
    for kind in sorted(kinds):
        # Of the whole workspace, so that what `cargo test` has built is used: features of dependencies are those of all crates.
        arguments = {"fuzz": ["--test", "fuzz"], "lib": ["--lib"], "bin": ["--bin", "lair"]}[kind]
        said = subprocess.run(["cargo", "test", "--workspace", "--no-run", "--message-format=json", *arguments], cwd=ROOT,
                              check=True, stdout=subprocess.PIPE).stdout
        for line in said.splitlines():
            message = json.loads(line)
            if message.get("reason") != "compiler-artifact" or not message.get("executable") or not message["profile"]["test"]:
                continue
            crate = pathlib.Path(message["manifest_path"]).parent
            kind = {"test": "fuzz", "lib": "lib", "bin": "bin"}[message["target"]["kind"][0]]
            copy = folder / f"{crate.name}-{kind}"
            shutil.copy2(message["executable"], copy)
            programs[f"{crate.name}:{kind}"] = (copy, crate)
    return programs


def give_way():
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def run_piece(target, program, seconds, seed, revision, idle):
    test, paths = TARGETS[target][1:]
    now = sources(paths)
    environment = dict(os.environ, LAIR_FUZZ_SECONDS=str(seconds), LAIR_FUZZ_SEED=str(seed))
    process = subprocess.Popen([str(program[0]), "--exact", test, "--nocapture", "--test-threads=1"], cwd=program[1],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               preexec_fn=give_way if idle else None)
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    line = next((line for line in said.splitlines() if f"fuzz {target}:" in line), "")
    inputs = line.split(": ")[1].split(" ")[0] if line else "0"
    outcome = "ok" if process.returncode == 0 and line else f"failed ({process.returncode})"
    if outcome != "ok":
        sys.stderr.write(said[-4000:])
    return {"target": target, "sources": now, "revision": revision, "date": datetime.date.today().isoformat(), "seed": seed,
            "cpu_s": f"{used.ru_utime + used.ru_stime:.0f}", "inputs": inputs, "outcome": outcome}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=24, help="minutes of the processor that each target shall have")
    parser.add_argument("--slice", type=int, default=240, help="seconds of one piece")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--until", help="no new piece after this time of the day (UTC)")
    parser.add_argument("--idle", action="store_true", help="only with processors that nobody else wants (Linux)")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    wanted = options.targets.split(",")
    if unknown := [name for name in wanted if name not in TARGETS]:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if options.show:
        for name in wanted:
            had, failed = seconds_had(name, sources(TARGETS[name][2]))
            print(f"{name:18} {had / 60:6.1f} min" + (f", {failed} pieces failed" if failed else ""))
        return
    lock, work = threading.Lock(), queue.Queue()
    for name in wanted:
        work.put(name)
    with tempfile.TemporaryDirectory() as folder:
        programs = built(pathlib.Path(folder), wanted)
        revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, stdout=subprocess.PIPE,
                                  text=True).stdout.strip()

        def worker():
            while True:
                try:
                    name = work.get_nowait()
                except queue.Empty:
                    return
                while not (options.until and datetime.datetime.now(datetime.timezone.utc).strftime("%H:%M") >= options.until):
                    with lock:
                        had, _ = seconds_had(name, sources(TARGETS[name][2]))
                        # Not counted up: two programs that run at once shall not try the same inputs.
                        seed = int.from_bytes(os.urandom(4), "little")
                    left = options.minutes * 60 - had
                    if left <= 0:
                        break
                    row = run_piece(name, programs[TARGETS[name][0]], max(1, min(options.slice, int(left + 1))), seed, revision,
                                    options.idle)
                    with lock:
                        is_new = not LEDGER.exists()
                        with LEDGER.open("a", newline="") as file:
                            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                            if is_new:
                                writer.writeheader()
                            writer.writerow(row)
                        print(" ".join(str(row[field]) for field in FIELDS), flush=True)
                    if row["outcome"] != "ok":
                        break

        threads = [threading.Thread(target=worker) for _ in range(options.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
