"""A comparison as Markdown."""
from machine import OTHER_LOAD_MAX, STEAL_MAX

LAIR = "Lair"
# Row kind: unit, decimals, and how Lair's figure and the peer's become a ratio.
UNITS = {
    "prefill": ("tokens/s", 1, lambda ours, theirs: ours / theirs),
    "decode": ("tokens/s", 1, lambda ours, theirs: ours / theirs),
    "depth": ("tokens/s", 1, lambda ours, theirs: ours / theirs),
    "streams": ("tokens/s in all", 1, lambda ours, theirs: ours / theirs),
    "start": ("s", 3, lambda ours, theirs: theirs / ours),
    "memory": ("MiB", 0, lambda ours, theirs: ours / theirs),
}


def markdown(report):
    machine = report["machine"]
    lines = [f"# {report['title']}", "",
             f"Machine: {machine['cores']} cores of {machine['processor']}{', virtual' if machine['virtual'] else ''}; "
             f"{', '.join(machine['isa'])}; {machine['memory_gib']} GiB; {machine['system']}. "
             f"Load average before: {machine['load_average'][0]:.2f}.", ""]
    lines += [f"- {name}: {about['version']}; {about['flags']}" for name, about in report["engines"].items()]
    lines += ["", f"{report['date']}, `{report['command']}`", "",
              "Median (smallest to largest) of the rounds; the engines ran in turn. Ratios are of medians: above 1 Lair is "
              "faster; for memory, below 1 Lair is smaller.", ""]
    for comparison in report["comparisons"]:
        lines += table(comparison, list(report["engines"]))
    if report["lookup"]:
        lines += lookup_table(report["lookup"])
    return "\n".join(lines).rstrip() + "\n"


def table(comparison, engines):
    peers = [name for name in engines if name != LAIR]
    threads = f"{comparison['threads']} thread{'s' if comparison['threads'] > 1 else ''}"
    lines = [f"## {comparison['model']} ({comparison['size_bytes'] / 2**20:.0f} MiB), {threads}, "
             f"{comparison['rounds']} rounds", "",
             f"| | {' | '.join(engines)} |" + "".join(f" to {name} |" for name in peers if LAIR in engines),
             "| --- |" + " --- |" * (len(engines) + (len(peers) if LAIR in engines else 0))]
    for row, by_engine in comparison["rows"].items():
        unit, decimals, ratio = UNITS[row.split()[0]]
        cells = [cell(by_engine.get(name), decimals) for name in engines]
        if LAIR in engines:
            cells += [ratio_cell(by_engine, name, ratio) for name in peers]
        lines.append(f"| {row}, {unit} | " + " | ".join(cells) + " |")
    for name, message in comparison["failures"].items():
        lines += ["", f"{name} failed: `{message.splitlines()[-1]}`"]
    return [*lines, "", *load_line(comparison["load"])]


def cell(summary, decimals):
    if summary is None:
        return "-"
    values = [f"{summary[name]:.{decimals}f}" for name in ("median", "min", "max")]
    return f"{values[0]} ({values[1]} to {values[2]})"


def ratio_cell(by_engine, name, ratio):
    if LAIR not in by_engine or name not in by_engine:
        return "-"
    return f"**{ratio(by_engine[LAIR]['median'], by_engine[name]['median']):.2f}**"


def load_line(load):
    """What else the machine did, and a warning where it did too much."""
    if not load:
        return []
    others, steal = load["other_load"], load["steal"]
    line = (f"Others took {others['median']:.1%} of the processors (at most {others['max']:.1%}), "
            f"the host {steal['median']:.1%} (at most {steal['max']:.1%}).")
    if others["median"] > OTHER_LOAD_MAX or steal["median"] > STEAL_MAX:
        line += " **The machine was not quiet: compare only figures of one line.**"
    return [line, ""]


def lookup_table(rows):
    lines = ["## Prompt lookup: repeating a file of code with one name changed", "",
             "| model | guessing, tokens/s | plain greedy, tokens/s | ratio | guesses accepted | same tokens |",
             "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        rate = row["acceptance_rate"]
        lines.append(f"| {row['model']}, {row['threads']} threads | {cell(row['guessing'], 1)} | {cell(row['greedy'], 1)} | "
                     f"**{row['guessing']['median'] / row['greedy']['median']:.2f}** | "
                     f"{'-' if rate is None else format(rate, '.0%')} | {'yes' if row['same_tokens'] else '**NO**'} |")
    return [*lines, ""]
