"""How Lair is run for a comparison: `lair bench --json` for speeds, `lair run --json` for start and memory."""
import json, pathlib, subprocess
from machine import run_measured

START_PROMPT = "Hello there"


class Lair:
    """A `lair` program and what it can do. With `weight_cache`, a folder, it keeps packed weights there."""

    def __init__(self, program, name="Lair", weight_cache=None):
        self.program, self.name = str(program), name
        self.cache = ["--weight-cache", str(weight_cache)] if weight_cache else []
        self.has_bench = self.help("bench") is not None
        # Guessing ahead is measured as a row of its own; elsewhere a model that repeats itself would look faster.
        self.plain, self.plain_bench = (["--no-speculate"] if "--no-speculate" in (self.help(command) or "") else []
                                        for command in ("run", "bench"))

    def help(self, command):
        done = subprocess.run([self.program, command, "--help"], capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    def describe(self):
        version = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        folder = pathlib.Path(self.program).resolve().parent
        git = subprocess.run(["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True)
        commit = f", commit {git.stdout.strip()}" if git.returncode == 0 else ""
        cache = ["--weight-cache FOLDER"] if self.cache else []
        return {"version": version + commit, "flags": " ".join([*self.plain, *cache]) + ", otherwise defaults (keys and values in 8 bits)"}

    def command(self, model, prompt, threads, count, options=()):
        """One answer without a chat template, always the likeliest token."""
        return [self.program, "run", model, prompt, "--raw", "--json", "--temperature", "0", "--repeat-penalty", "1",
                "--threads", str(threads), "--max-tokens", str(count), *self.cache, *options]

    def answer(self, model, prompt, threads, count, options=()):
        """The JSON of such an answer, and what was watched."""
        watched = run_measured(self.command(model, prompt, threads, count, options), timeout_s=1800)
        return json.loads(watched["output"]), watched

    def prompts(self, model, plan):
        """Texts that are about `plan["prompt"]` and `plan["start"]` tokens long for this model, with their token ids."""
        length = plan["prompt_tokens"]
        options = ["--context-length", str(4 * length)]
        count, size = length // 2, 0
        while size < length:
            text = " ".join(str(7919 * i % 1000) for i in range(count))
            ids = self.answer(model, text, plan["threads"], 1, options)[0]["prompt_token_ids"]
            size = len(ids)
            count = count * length // size + 1 if size < length else count
        start = self.answer(model, START_PROMPT, plan["threads"], 1, options)[0]["prompt_token_ids"]
        return {"text": text, "ids": ids[:length], "start_ids": start}

    def measure(self, model, plan, prompts):
        """Each row that is wanted, once; what was watched of every process."""
        rows, result, watches = set(plan["rows"]), {}, []
        context = ["--context-length", str(2 * plan["prompt_tokens"]), *self.plain]
        if "start" in rows:
            command = self.command(model, START_PROMPT, plan["threads"], 1, context)
            watched = run_measured([part for part in command if part != "--json"], timeout_s=600)
            result["start"] = watched["first_byte_s"]
            watches.append(watched)
        speeds = {"prefill", "decode", "depth", "streams"} & rows
        if "memory" in rows or (speeds and not self.has_bench):
            answer, watched = self.answer(model, prompts["text"], plan["threads"], plan["decode"], context)
            result["memory"] = watched["peak_mib"]
            result["prefill"] = answer["prefill_tokens_per_second"]
            result["decode"] = answer["decode_tokens_per_second"]
            watches.append(watched)
        if speeds and self.has_bench:
            result.update(self.bench(model, plan, speeds, watches))
        return result, watches

    def bench(self, model, plan, rows, watches):
        """The rates of one round of `lair bench`, which warms up each test as the peers' worker does. Its tokens are random
        ones of its own: how fast a dense model is does not depend on them."""
        counts = {"--prefill": [plan["prompt_tokens"]] if "prefill" in rows else [0],
                  "--decode": [plan["decode"]] if rows & {"decode", "depth"} else [0],
                  "--depth": ([0] if "decode" in rows else []) + (plan["depths"] if "depth" in rows else []),
                  "--streams": plan["streams"] if "streams" in rows else []}
        command = [self.program, "bench", model, "--repeats", "1", "--no-start", "--json", "--threads", str(plan["threads"]),
                   *self.plain_bench, *self.cache]
        for option, values in counts.items():
            if values:
                command += [option, ",".join(map(str, values))]
        watched = run_measured(command, timeout_s=3600)
        watches.append(watched)
        found = {}
        for result in json.loads(watched["output"])["results"]:
            kind, depth = result["kind"], result["depth"]
            name = {"decode": f"depth {depth}" if depth else "decode", "streams": f"streams {result['streams']}"}.get(kind, kind)
            found[name] = result["median"]
        return found
