#!/usr/bin/env python3
# SPDX-FileCopyrightText: Switchyard contributors
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""report.py FOLDER: the JSON files there -> report.md and the tables that plots.gp draws. Called by report.sh."""
import collections
import json
import pathlib
import statistics
import sys

folder = pathlib.Path(sys.argv[1])
STAGES = ("logits selection slots losses gather first_product second_product combine combine_backward d_hidden d_input "
          "d_wo d_wi router_d_logits router_dx router_dw rest").split()


def load(name):
    path = folder / f"{name}.json"
    if not path.exists():
        return {"context": {}, "benchmarks": []}
    data = json.loads(path.read_text())
    for b in data["benchmarks"]:
        b["name"] = b["name"].split("/iterations")[0]
        # room/pass/number/shape/M/F/E/T/routing
        b["part"] = b["name"].split("/")
    return data


def entries(name):
    return [b for b in load(name)["benchmarks"] if "time_ms" in b]


def number(value, digits=3):
    return "" if value is None else f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def spread(b, key, digits=3):
    """median [lower quartile, upper quartile]"""
    if key not in b:
        return ""
    return f"{number(b[key], digits)} [{number(b[key + '_q1'], digits)}, {number(b[key + '_q3'], digits)}]"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def dat(name, rows):
    (folder / f"{name}.dat").write_text("".join(" ".join(str(c) for c in row) + "\n" for row in rows))


layer = entries("layer")
page = ["# Benchmark report\n"]

# ---- what it ran on
c = load("layer")["context"]
anchors = [b for b in layer if "peak_GFLOP/s" in b]
if c and anchors:
    peak = {n: statistics.median(b["peak_GFLOP/s"] for b in anchors if b["part"][2] == n)
            for n in ("bf16", "fp32") if any(b["part"][2] == n for b in anchors)}
    read, copy = (statistics.median(b[k] for b in anchors) for k in ("read_GB/s", "copy_GB/s"))
    page.append(f"{c.get('date', '')}, {c.get('num_cpus')} CPUs, {c.get('threads')} threads, load average "
                f"{', '.join(number(v) for v in c.get('load_avg', []))}; g++ {c.get('compiler')}, `{c.get('flags')}`. "
                "Largest product " + ", ".join(f"{v:.0f} GFLOP/s ({n})" for n, v in peak.items()) +
                f"; read {read:.1f}, copy {copy:.1f} GB/s. Every entry was checked before it was timed; the checks were seen to "
                "fail on spoiled results. Medians [lower, upper quartile] of interleaved rounds.\n")

# ---- the layer
head = ["entry", "ms", "t_min ms", "of roofline", "vs_dense", "vs_loop", "of_peak", "around the experts", "of_read"]
row = lambda b: ["/".join(b["part"][1:]), spread(b, "time_ms"), number(b["t_min_ms"]), number(b["of_roofline"]),
                 spread(b, "vs_dense"), spread(b, "vs_loop"), number(b["of_peak"]), number(b.get("around_experts")),
                 spread(b, "of_read")]
page += ["## The layer\n", table(head, map(row, layer))]

# ---- sweeps
page.append("## Sweeps: d_model 256, d_ff 512\n\n![time against experts](experts.svg) ![vs_dense against experts]"
            "(experts_vs_dense.svg)\n\n![time against tokens](tokens.svg) ![vs_dense against tokens](tokens_vs_dense.svg)\n")
for kind in ("forward/bf16", "forward/fp32", "forward_backward/bf16"):
    sweep = [b for b in layer if b["part"][3] == "sweep" and "/".join(b["part"][1:3]) == kind]
    base = kind.replace("/", "_")
    pick = lambda b: [b["time_ms"], b["time_ms_q1"], b["time_ms_q3"], b["t_min_ms"], b["vs_dense"], b["vs_dense_q1"],
                      b["vs_dense_q3"]]
    dat(f"experts_{base}", sorted([int(b["experts"])] + pick(b) for b in sweep if b["tokens"] == 8192 and b["experts"] != 64))
    dat(f"tokens_{base}", sorted([int(b["tokens"])] + pick(b) for b in sweep if b["experts"] == 64))
per_token = {}
for b in layer:
    if b["part"][3] == "sweep" and b["experts"] == 64 and b["tokens"] >= 8192:
        per_token.setdefault("/".join(b["part"][1:3]), []).append((b["tokens"], b["time_ms"] / b["tokens"]))
for kind, points in per_token.items():
    t = [v for _, v in points]
    if len(t) > 1:
        page.append(f"Tokens {int(min(points)[0])} to {int(max(points)[0])}, {kind}: time per token within "
                    f"{100 * (max(t) / min(t) - 1):.1f} % of linear.\n")

# ---- stages
page.append("## Stages\n\nMedian ms of each stage, and in brackets the t_min of that stage; a stage that the leanest data flow fuses "
            "into a product has none. The gather is fused in the first product: `gather` is the row lists.\n\n![stages](stages.svg)\n")
bars = []
for which in ("forward", "backward"):
    some = [b for b in layer if b["part"][1] == which and b["part"][3].startswith("switch_base") and b["part"][-1] == "uniform"]
    stages = [s for s in STAGES if any(f"stage_{s}_ms" in b for b in some)]
    other = sorted({k[6:-3] for b in some for k in b if k.startswith("stage_")} - set(STAGES))
    cell = lambda b, s: "" if f"stage_{s}_ms" not in b else number(b[f"stage_{s}_ms"]) + (
        f" ({number(b[f't_min_{s}_ms'])})" if b.get(f"t_min_{s}_ms") else "")
    page.append(table([which] + ["/".join(b["part"][2:4]) for b in some],
                      [[s] + [cell(b, s) for b in some] for s in stages + other]))
    for b in some:
        label = f"{b['part'][2]}/E{int(b['experts'])}/{which}"
        bars.append([f'"{label}"'] + [b.get(f"stage_{s}_ms", 0) for s in STAGES])
        bars.append(['"t_min"'] + [b.get(f"t_min_{s}_ms", 0) for s in STAGES])
dat("stages", [["case"] + STAGES] + bars)

# ---- roofline
points = [b for room in ("layer", "experts", "router", "combine") for b in entries(room) if b.get("useful_GFLOP/s")]
dat("roofline", [[b["useful_GFLOP/s"] / b["GB/s"], b["useful_GFLOP/s"], b["part"][0]] for b in points])
if anchors:
    dat("roofs", [[read if read > copy else copy, peak.get("bf16", 0), peak.get("fp32", 0)]])
page.append("## Roofline\n\n![roofline](roofline.svg)\n")

# ---- threads and the baseline build
times = collections.defaultdict(dict)
for path in sorted(folder.glob("threads_*.json")):
    for b in entries(path.stem):
        times["/".join(b["part"][1:3])].setdefault(int(b["threads"]), []).append(b["time_ms"])
times = {k: {n: statistics.median(v) for n, v in t.items()} for k, t in times.items()}
counts = sorted({n for t in times.values() for n in t})
if counts:
    page.append("## Threads: Switch-Base, 32 experts, 4096 tokens\n\n![threads](threads.svg)\n")
    page.append(table(["entry"] + [f"{n} thread{'s' if n > 1 else ''}, ms" for n in counts] + [f"{n} over 1" for n in counts[1:]],
                      [[k] + [number(t.get(n)) for n in counts] + [number(t[1] / t[n]) for n in counts[1:] if n in t]
                       for k, t in times.items()]))
    dat("threads", [["threads"] + list(times)] + [[n] + [t[1] / t[n] for t in times.values()] for n in counts])
native = {b["name"]: b for b in layer}
page.append("## Without `-march=native`: the build that a user of the library gets\n")
page.append(table(["entry", "ms", "vs_dense", "native, ms"],
                  [["/".join(b["part"][1:]), spread(b, "time_ms"), spread(b, "vs_dense"),
                    number(native.get(b["name"], {}).get("time_ms"))] for b in entries("baseline")]))

# ---- peers
page.append("## Peers\n")
theirs, version = collections.defaultdict(list), ""
if (folder / "torch.jsonl").exists():
    for line in (folder / "torch.jsonl").read_text().splitlines():
        one = json.loads(line)
        theirs[one["name"]].append(one["time_ms"])
        version = one["torch"]
ours = collections.defaultdict(list)
for path in sorted(folder.glob("peer_ours_*.json")):
    for b in entries(path.stem):
        ours[b["name"]].append(b["time_ms"])
rows = []
for name, them in theirs.items():
    us = ours[name]
    ratio = [a / b for a, b in zip(them, us)]
    rows.append(["/".join(name.split("/")[1:]), " ".join(map(number, us)), " ".join(map(number, them)),
                 " ".join(map(number, ratio))])
page.append((f"PyTorch {version}, as many threads: tokens sorted by expert, one slice per expert. Its weights and, in bf16, their "
             "gradients are bf16; ours keep float gradients. Runs by turns: ours, theirs, ours, theirs.\n\n" +
             table(["entry", "ours, ms", "PyTorch, ms", "times as fast"], rows)) if rows else "No PyTorch on this machine.\n")

# ---- the rooms
for room, what in (("gemm", "Products"), ("experts", "Experts"), ("router", "Router"), ("dispatch", "Dispatch"),
                   ("combine", "Combine")):
    some = entries(room)
    page.append(f"## {what}\n")
    page.append(table(["entry", "ms", "GFLOP/s", "GB/s", "vs_dense", "vs_loop", "of_peak", "of_roofline", "of_copy",
                       "time, of the dense FFN's"],
                      [["/".join(b["part"]), spread(b, "time_ms"), number(b["useful_GFLOP/s"]), number(b["GB/s"]),
                        spread(b, "vs_dense"), spread(b, "vs_loop"), number(b["of_peak"]), number(b["of_roofline"]),
                        spread(b, "of_copy"), number(b["time_of_dense"])] for b in some]))

# ---- the mesh
mesh = entries("mesh")
if mesh:
    page.append(f"## The mesh: {int(mesh[0]['ranks'])} ranks of one thread\n")
    some = [b for b in mesh if "vs_raw" in b]
    page.append(table(["entry", "ms", "GB/s", "over the raw calls", "over MPI's own", "pack ms", "unpack ms"],
                      [["/".join(b["part"]), spread(b, "time_ms"), number(b.get("GB/s")), spread(b, "vs_raw"),
                        spread(b, "vs_mpi"), number(b.get("pack_ms")), number(b.get("unpack_ms"))] for b in some]))
    some = [b for b in mesh if "exposed" in b]
    page.append(table(["entry", "ms", "computing alone, ms", "exchanges alone, ms", "their share", "exposed", "in chunks",
                       "rate over that of one rank with all threads"],
                      [["/".join(b["part"][1:]), spread(b, "time_ms"), number(b["computing_ms"]), number(b["exchange_ms"]),
                        spread(b, "exchange_share"), spread(b, "exposed"), spread(b, "exposed_in_chunks"),
                        spread(b, "weak_scaling")] for b in some]))

(folder / "report.md").write_text("\n".join(page))
