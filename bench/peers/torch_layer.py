#!/usr/bin/env python3
# SPDX-FileCopyrightText: Switchyard contributors
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The same layer in PyTorch: router in float, top-1, tokens sorted by expert, one slice per expert.

torch_layer.py NAME...  prints one JSON object per entry: {"name": ..., "time_ms": ...}. Names are those of bench_layer:
layer/<forward|forward_backward>/<bf16|fp32>/<anything>/M768/F3072/E32/T4096/uniform. Every entry is checked first,
on some tokens, by a loop in double. Exit status 77 where there is no PyTorch: the machine then has no such peer.
"""
import json
import math
import os
import sys
import time

try:
    import torch
except ImportError:
    print("torch_layer: PyTorch is not installed here", file=sys.stderr)
    sys.exit(77)

THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
torch.set_num_threads(THREADS)
SHARPNESS = 0.3  # as in bench/support/routed.hpp


class Layer:
    """y_t = p_e FFN_e(x_t), e the most probable expert, capacity factor 1.25: later tokens of a full expert give 0."""

    def __init__(self, dtype, m, f, experts, tokens):
        g = torch.Generator().manual_seed(1)
        router = torch.randn(m, experts, generator=g)
        self.router = (SHARPNESS * router / router.norm(dim=0)).requires_grad_()
        self.meant = torch.randint(experts, (tokens,), generator=g)
        x = torch.randn(tokens, m, generator=g) + 14 / SHARPNESS * self.router.detach().t()[self.meant]
        self.x = x.to(dtype).requires_grad_()
        self.dy = torch.randn(tokens, m, generator=g).to(dtype)
        # One matrix per expert, as torch.nn.ModuleList of Linear would hold them: gradients need no copy.
        self.wi = [(torch.randn(m, f, generator=g) / math.sqrt(m)).to(dtype).requires_grad_() for _ in range(experts)]
        self.wo = [(torch.randn(f, m, generator=g) / math.sqrt(f)).to(dtype).requires_grad_() for _ in range(experts)]
        self.capacity = max(min(int(tokens * 1.25 / experts), tokens), 4)
        self.experts = experts

    def forward(self, x):
        probs = torch.softmax(x.float() @ self.router, dim=-1)
        gate, expert = probs.max(dim=-1)
        order = torch.argsort(expert, stable=True)  # by expert, tokens in order
        counts = torch.bincount(expert, minlength=self.experts).tolist()
        rows = x[order]
        outputs, kept, begin = [], [], 0
        for e, count in enumerate(counts):
            end = begin + min(count, self.capacity)
            if end > begin:
                outputs.append(torch.relu(rows[begin:end] @ self.wi[e]) @ self.wo[e])
                kept.append(order[begin:end])
            begin += count
        place = torch.cat(kept)
        o = torch.cat(outputs) * gate[place].to(x.dtype).unsqueeze(-1)
        return torch.zeros_like(x).index_copy(0, place, o)

    def run(self, backward):
        if not backward:
            with torch.no_grad():
                return self.forward(self.x)
        for t in (self.x, self.router, *self.wi, *self.wo):
            t.grad = None
        y = self.forward(self.x)
        y.backward(self.dy)
        return y

    def check(self):
        """Some tokens again, in double."""
        with torch.no_grad():
            y = self.forward(self.x)
            for t in range(0, self.x.shape[0], max(1, self.x.shape[0] // 5)):
                e = self.meant[t].item()
                if (self.meant[:t] == e).sum() >= self.capacity:
                    want = torch.zeros(self.x.shape[1], dtype=torch.float64)
                else:
                    p = torch.softmax(self.x[t].double() @ self.router.double(), dim=-1)[e]
                    want = p * (torch.relu(self.x[t].double() @ self.wi[e].double()) @ self.wo[e].double())
                error = (y[t].double() - want).norm() / want.norm().clamp(min=1e-30)
                allowed = 3e-2 if self.x.dtype == torch.bfloat16 else 1e-4
                if not error <= allowed:
                    raise SystemExit(f"torch_layer: token {t} is wrong by {error:.3g}")


def measure(name):
    parts = name.split("/")
    size = {p[0]: int(p[1:]) for p in parts if p[:1] in "MFET" and p[1:].isdigit()}
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[parts[2]]
    backward = parts[1] == "forward_backward"
    torch.manual_seed(1)
    layer = Layer(dtype, size["M"], size["F"], size["E"], size["T"])
    layer.check()
    layer.run(backward)
    times, begin = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < 0.5 and len(times) < 41):
        start = time.perf_counter()
        layer.run(backward)
        times.append(1e3 * (time.perf_counter() - start))
    return {"name": name, "time_ms": sorted(times)[len(times) // 2], "threads": THREADS, "torch": torch.__version__}


if __name__ == "__main__":
    for entry in sys.argv[1:]:
        print(json.dumps(measure(entry)), flush=True)
