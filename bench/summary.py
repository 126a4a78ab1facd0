"""Print the table of a benchmark run: `python bench/summary.py bench-results.json`.

A row a workload, a column an engine (medians; nanoseconds a node in brackets), then how many times slower than the
first engine each other one is. A second table has the memory. Only results whose answer was right are in it.
"""

import json
import sys

KINDS = ["op", "build", "backward", "free", "step"]


def main(path):
    with open(path) as file:
        run = json.load(file)
    results = [{**b["extra_info"], "seconds": b["stats"]["median"]} for b in run["benchmarks"]]
    results = [r for r in results if r.get("correct")]
    if not results:
        sys.exit(f"{path} holds no results of this benchmark: run `make bench`")
    engines = list(dict.fromkeys(r["engine"] for r in results))
    print(heading(run))
    print()
    print(table([r for r in results if r["kind"] in KINDS], engines, "seconds", time_cell))
    print()
    print(table([r for r in results if r["kind"] == "bytes"], engines, "bytes", byte_cell))


def heading(run):
    """Where, when and how this was measured."""
    machine = run["machine_info"]
    cpu = machine.get("cpu", {})
    python = f"{machine['python_implementation']} {machine['python_version']}"
    return "\n".join(
        [
            f"machine  {cpu.get('brand_raw', machine['machine'])}, {cpu.get('count', '?')} cores, {machine['system']}",
            f"python   {python}",
            f"date     {run['datetime'][:10]}",
            f"command  {machine.get('command', 'unknown')}",
            "medians, gc off; in brackets nanoseconds an op node; ratios are times the first engine's",
        ]
    )


def table(results, engines, figure, cell):
    """Return the results as an aligned Markdown table; `figure` is what the ratios are of."""
    first, others = engines[0], engines[1:]
    rows = [["workload", *engines, *(f"{name} / {first}" for name in others)]]
    for (kind, workload), by_engine in by_workload(results).items():
        cells = [cell(by_engine[name]) if name in by_engine else "-" for name in engines]
        ratios = [ratio(by_engine.get(name), by_engine.get(first), figure) for name in others]
        rows.append([f"{kind}: {workload}", *cells, *ratios])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [[row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])] for row in rows]
    rule = ["-" * widths[0]] + ["-" * (w - 1) + ":" for w in widths[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def by_workload(results):
    """Map (kind, workload) -> engine -> result, in the order in which they ran, the kinds in that of KINDS."""
    rows = {}
    for r in sorted(results, key=lambda r: KINDS.index(r["kind"]) if r["kind"] in KINDS else -1):
        rows.setdefault((r["kind"], r["workload"]), {})[r["engine"]] = r
    return rows


def time_cell(result):
    text = duration(result["seconds"])
    return f"{text} ({result['ns_per_node']:.1f})" if "ns_per_node" in result else text


def byte_cell(result):
    return f"{result['bytes']:,.0f}"


def ratio(result, first, figure):
    if not result or not first or first[figure] < 1 and figure == "bytes":  # growth of nothing has no ratio
        return "-"
    times = result[figure] / first[figure]
    return f"{times:.1f}" if times < 100 else f"{times:.0f}"


def duration(seconds):
    """Three figures and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds < 999.5 * scale else f"{seconds / scale:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/summary.py bench-results.json")
    main(sys.argv[1])
