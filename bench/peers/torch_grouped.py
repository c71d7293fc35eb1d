#!/usr/bin/env python3
# SPDX-FileCopyrightText: Switchyard contributors
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The layers of bench_gpu_layer in PyTorch on a GPU: tokens permuted by expert, torch._grouped_mm, weighted sum.

torch_grouped.py [--seconds S] [NAME...]  prints one JSON object per layer and pass. Checked first, on some tokens, by a
loop in double. Exit status 77 where there is no PyTorch with a GPU and torch._grouped_mm: the machine has no such peer.
"""
import json
import sys

try:
    import torch
except ImportError:
    torch = None
if torch is None or not torch.cuda.is_available() or not hasattr(torch, "_grouped_mm"):
    print("torch_grouped: no PyTorch with a GPU and torch._grouped_mm here", file=sys.stderr)
    sys.exit(77)

# tokens, d_model, d_ff, experts, choices, gated
SHAPES = {
    "mixtral_8x7b": (8192, 4096, 14336, 8, 2, True),
    "qwen3_30b_a3b": (32768, 2048, 768, 128, 8, True),
    "switch_base_128": (32768, 768, 3072, 128, 1, False),
}


class Layer:
    """y_t = sum_j p_j FFN_{e_j}(x_t), float router, dropless, everything else in bfloat16."""

    def __init__(self, tokens, m, f, experts, choices, gated):
        torch.manual_seed(1)
        new = lambda *s, scale=1.0: (scale * torch.randn(*s, device="cuda")).bfloat16().requires_grad_()
        self.choices, self.gated, self.f = choices, gated, f
        self.router = (0.3 * torch.randn(m, experts, device="cuda") / m**0.5).requires_grad_()
        self.up = new(experts, m, 2 * f if gated else f, scale=m**-0.5)  # gated: gate | value
        self.down = new(experts, f, m, scale=f**-0.5)
        self.x = new(tokens, m)
        self.dy = torch.randn(tokens, m, device="cuda").bfloat16()

    def hidden(self, a):
        if not self.gated:
            return torch.relu(a)
        return torch.nn.functional.silu(a[..., : self.f]) * a[..., self.f :]

    def forward(self):
        probs = torch.softmax(self.x.float() @ self.router, dim=-1)
        gate, expert = probs.topk(self.choices, dim=-1)
        flat = expert.flatten()
        order = torch.argsort(flat, stable=True)
        ends = torch.cumsum(torch.bincount(flat, minlength=self.router.shape[1]), 0).to(torch.int32)
        token = order // self.choices
        rows = self.x[token]
        o = torch._grouped_mm(self.hidden(torch._grouped_mm(rows, self.up, offs=ends)), self.down, offs=ends)
        o = o * gate.flatten()[order].to(o.dtype).unsqueeze(-1)
        return torch.zeros_like(self.x).index_add(0, token, o)

    def backward(self, y):
        for t in (self.x, self.router, self.up, self.down):
            t.grad = None
        y.backward(self.dy, retain_graph=True)

    def check(self):
        with torch.no_grad():
            y = self.forward()
            for t in range(0, self.x.shape[0], self.x.shape[0] // 3):
                x = self.x[t].double()
                probs = torch.softmax(x @ self.router.double(), dim=-1)
                want = torch.zeros_like(x)
                for p, e in zip(*probs.topk(self.choices)):
                    want += p * (self.hidden(x @ self.up[e].double()) @ self.down[e].double())
                error = ((y[t].double() - want).norm() / want.norm()).item()
                if not error <= 3e-2:
                    raise SystemExit(f"torch_grouped: token {t} is wrong by {error:.3g}")


def measure(call, seconds):
    other = torch.empty(64 << 20, device="cuda")  # fills the second-level cache between calls
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    call()
    times = []
    while len(times) < 5 or (sum(times) < 1e3 * seconds and len(times) < 101):
        other.fill_(len(times))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    times.sort()
    return times[len(times) // 4], times[len(times) // 2], times[3 * len(times) // 4]


def main(arguments):
    seconds = 3.0
    if arguments[:1] == ["--seconds"]:
        seconds, arguments = float(arguments[1]), arguments[2:]
    for name in arguments or SHAPES:
        tokens, m, f, experts, choices, gated = SHAPES[name]
        layer = Layer(tokens, m, f, experts, choices, gated)
        layer.check()
        flop = 2 * tokens * choices * m * f * (3 if gated else 2)

        def forward():
            with torch.no_grad():
                layer.forward()

        y = layer.forward()
        for what, call, useful in (("forward", forward, flop), ("backward", lambda: layer.backward(y), 2 * flop)):
            low, median, high = measure(call, seconds)
            print(json.dumps({"name": f"{name}/torch/{what}", "time_ms": median, "time_ms_q1": low, "time_ms_q3": high,
                              "TFLOP/s": useful / median * 1e-9, "torch": torch.__version__}), flush=True)
        del y, layer
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1:])
