"""Prompt lookup: Lair's own greedy decoding with and without guessing tokens ahead, on a text that is to be copied."""
import json, statistics, sys
from machine import run_measured

ANSWER = 256
CODE = '''def read_records(path, separator=",", skip_header=True):
    """Reads a table of records from a text file."""
    records = []
    with open(path, encoding="utf-8") as file:
        for line_number, line in enumerate(file):
            if skip_header and line_number == 0:
                continue
            fields = line.rstrip("\\n").split(separator)
            if len(fields) < 3:
                raise ValueError(f"line {line_number} has {len(fields)} fields, expected 3")
            name, amount, date = fields[:3]
            records.append({"name": name, "amount": float(amount), "date": date})
    return records


def total_by_name(records):
    """Adds up the amounts of each name."""
    totals = {}
    for record in records:
        totals[record["name"]] = totals.get(record["name"], 0.0) + record["amount"]
    return totals
'''
PROMPT = f"Rename the function `total_by_name` to `sum_by_name` and repeat the whole file without other changes:\n\n{CODE}"


def measure_lookup(lair, model, threads, rounds):
    """Decode rates in turn. That the answers are the same tokens is checked: guessing must not change them."""
    ways = {"guessing": [], "greedy": ["--no-speculate"]}
    if not lair.plain:
        sys.exit(f"{lair.program} run has no --no-speculate")
    rates, tokens, usage = {way: [] for way in ways}, {}, {}
    for _ in range(rounds):
        for way, extra in ways.items():
            command = [lair.program, "run", model, PROMPT, "--json", "--temperature", "0", "--repeat-penalty", "1",
                       "--threads", str(threads), "--max-tokens", str(ANSWER), "--context-length", "2048", *extra]
            answer = json.loads(run_measured(command, timeout_s=1800)["output"])
            rates[way].append(answer["decode_tokens_per_second"])
            tokens.setdefault(way, answer["token_ids"])
            usage[way] = answer["usage"]
    return {"model": model.name, "threads": threads, "rounds": rounds, "same_tokens": tokens["guessing"] == tokens["greedy"],
            "completion_tokens": len(tokens["greedy"]), "acceptance_rate": usage["guessing"].get("acceptance_rate"),
            **{way: {"median": statistics.median(of), "min": min(of), "max": max(of), "values": of}
               for way, of in rates.items()}}
