"""Random networks as Python source: what users write, in every mixture.

A `Program` is the text of a few `nn.Module` classes, built from statements drawn by hypothesis, so
that a failing network shrinks to a short one and can be kept as a test.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

WIDTH = 8

HEADER = """
import torch, torch.nn as nn, torch.nn.functional as F
from torch.nn.utils import parametrize

class Doubled(nn.Module):
    def forward(self, w):
        return w * 1.5

class WithForward(nn.Conv2d):
    def forward(self, x):
        w = self.weight - self.weight.mean()
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)

class Plain(nn.Conv2d):
    pass

class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.act = nn.ReLU(inplace=True)
    def forward(self, x):
        z = self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(z)

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
    def forward(self, x, *, scale=1.0, skip=None, mode="a"):
        x = self.act(x * scale)
        if skip is not None:
            x = self.act(x + skip)
        return self.act(x - 0.1) if mode == "a" else F.leaky_relu(x, 0.2)

SHARED_ACT = nn.ReLU()
"""

MEMBERS: tuple[str, ...] = (
    "self.conv = nn.Conv2d(8, 8, 3, padding=1)",
    "self.grouped = nn.Conv2d(8, 8, 3, padding='same', groups=4, bias=False)",
    "self.circular = nn.Conv2d(8, 8, 3, padding=1, padding_mode='circular')",
    "self.plain = Plain(8, 8, 1)",
    "self.standardized = WithForward(8, 8, 3, padding=1)",
    "self.up = nn.ConvTranspose2d(8, 8, 3, padding=1)",
    "self.bn = nn.BatchNorm2d(8)",
    "self.act = nn.ReLU(inplace=True)",
    "self.act2 = nn.LeakyReLU(0.1)",
    "self.prelu = nn.PReLU(8)",
    "self.steep = nn.PReLU(1, init=1.5)",
    "self.six = nn.ReLU6(inplace=True)",
    "self.smooth = nn.Hardswish()",
    "self.gate = Gate()",
    "self.scaled = Scaled()",
    "self.drop = nn.Dropout(0.3)",
    "self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)",
    "self.bias = nn.Parameter(torch.randn(8))",
    "self.register_buffer('shift', torch.randn(1, 8, 1, 1))",
    "self.counter = 0",
    "self.normed = parametrize.register_parametrization(nn.Conv2d(8, 8, 1), 'weight', Doubled())",
    "self.old_norm = torch.nn.utils.weight_norm(nn.Conv2d(8, 8, 1))",
    "self.listed = [self.conv]",
    "self.sequence = nn.Sequential(self.conv, self.act, nn.Conv2d(8, 8, 1), self.act)",
    "self.tied = nn.Conv2d(8, 8, 3, padding=1); self.tied.weight = self.conv.weight",
    "self.hooked = nn.ReLU(); self.hooked.register_forward_hook(lambda m, a, o: o * 1.25)",
    "self.frozen = nn.Conv2d(8, 8, 1).requires_grad_(False)",
    "self.same_act = SHARED_ACT",
    "self.scale = nn.Parameter(torch.ones(1, 8, 1, 1), requires_grad=False)",
    "self.gain = nn.Parameter(torch.ones(8))",
    "self.average = torch.zeros(8)",
    "self.rebound = torch.ones(())",
    "self.queue = {'seen': [torch.zeros(8)]}",
    "self.register_buffer('wide', torch.ones(1, 1, 1, 1).expand(1, 8, 1, 1))",
    "self.twin = nn.Sequential(self.conv)",
)

WRITERS: tuple[str, ...] = (
    "if self.training: self.scale.mul_(0.9).add_(x.detach().mean())\n        x = x * self.scale",
    "if self.training: self.scale.data = self.scale.data * 0.5\n        x = x + self.scale",
    "self.gain.data.mul_(0.9); x = F.relu(x * self.gain.view(8, 1, 1))",
    "self.average.lerp_(x.detach().mean((0, 2, 3)), 0.5); x = x + self.average[:, None, None]",
    "self.rebound = self.rebound * 0.9; x = F.relu(x * self.rebound)",
    "self.queue['seen'].append(self.queue['seen'][-1] + 1); x = x + self.queue['seen'][-1].mean()",
    "self.wide = self.wide * 1.5; x = self.act(x * self.wide)",
    "self.counter += 1; x = F.relu(x * self.counter)",
    "self.last = x; x = self.act(x)",
)
"""Statements that write into what the network holds."""

STATEMENTS: tuple[str, ...] = (
    *WRITERS,
    "x = self.conv(x)",
    "x = self.conv(self.act(self.conv(x)))",
    "x = self.grouped(x)",
    "x = self.circular(x)",
    "x = self.plain(x)",
    "x = self.standardized(x)",
    "x = self.up(x)",
    "x = self.up(x, output_size=x.shape[2:])",
    "x = self.bn(x)",
    "x = self.act(x)",
    "x = self.act2(x)",
    "x = self.prelu(x)",
    "x = self.steep(x)",
    "x = self.six(x)",
    "x = self.smooth(x)",
    "x = self.gate(x)",
    "x = self.gate.act(x)",
    "x = self.scaled(x, scale=0.5)",
    "x = self.scaled(x, skip=x)",
    "x = self.scaled(x, mode='b')",
    "x = self.drop(x)",
    "x = self.normed(x)",
    "x = self.old_norm(x)",
    "x = self.listed[0](x)",
    "x = self.sequence(x)",
    "x = self.tied(x)",
    "x = self.hooked(x)",
    "x = self.frozen(x)",
    "x = self.same_act(x)",
    "x = F.relu(x)",
    "x = F.relu(x, inplace=True)",
    "x = F.relu(input=x)",
    "x = torch.relu(x)",
    "x = x.relu()",
    "x = x.relu_()",
    "x.relu_()",
    "torch.relu_(x)",
    "x = F.leaky_relu(x, 0.2)",
    "x = F.leaky_relu(x, negative_slope=0.3, inplace=True)",
    "x = F.leaky_relu(x)",
    "x = F.relu6(x)",
    "x = F.gelu(x, approximate='tanh')",
    "x = F.silu(x)",
    "x = F.conv2d(x, self.weight, self.bias, padding=1)",
    "x = F.conv2d(x, self.weight, padding='same')",
    "x = F.conv2d(x, weight=self.weight, bias=self.bias, stride=1, padding=(1, 1), dilation=1)",
    "x = F.conv2d(x, self.weight * 0.5, self.bias, padding=1)",
    "x = F.conv2d(x, self.conv.weight, None, padding=1)",
    "x = x + self.shift",
    "x = x + 0.1 * self.weight.mean()",
    "y = x; x = self.act(x); x = x + y",
    "y = x; x = F.relu_(self.bn(x)); x = x + y",
    "y = x * 1.0; y.relu_(); x = x + y",
    "v = x[:, :4]; v.relu_()",
    "x = torch.cat([F.relu(x), x.relu()], 1)[:, ::2]",
    "x = sum([F.relu(x * s) for s in (1.0, -0.5)])",
    "for _ in range(2): x = self.act(x - 0.05)",
    "for _ in range(2): x = F.leaky_relu(x - 0.1, 0.1)",
    "for layer in (self.conv, self.plain): x = torch.relu(layer(x))",
    "x = self.helper(x)",
    "x = self.helper(self.helper(x))",
    "x = self.static_helper(x)",
    "x = (lambda t: F.relu(t - 0.2))(x)",
    "x = F.relu(x) if x.shape[2] > 6 else x * 0.5",
    "x = F.relu(x) if x.mean() > 0 else F.leaky_relu(x, 0.4)",
    "x = F.relu(x) if self.flag else self.act(x)",
    "x = F.relu(x) if self.training else F.leaky_relu(x, 0.3)",
    "x = torch.relu(x) + (0.1 * torch.randn_like(x) if self.training else 0)",
    "x = x * torch.rand(1).item() if self.training else x",
    "x = x + torch.ones(8, 1, 1)",
    "x = x + x.new_ones(1)",
    "x = x.double().relu().float()",
    "x = (x * 4).long().relu().float() / 4",
    "x = {'a': F.relu(x), 'b': x}['a']",
    "x = [F.relu(x), x][0]",
    "a, b = x.chunk(2, 1); x = torch.cat([self.halved(a), F.relu(b)], 1)",
    "x = F.relu(x.flatten(2)).view_as(x)",
    "x = F.relu(x.mean((2, 3)))[:, :, None, None] + x",
    "assert x.dim() == 4; x = F.relu(x)",
    "n, c, h, w = x.shape; x = F.relu(x.reshape(n, c, h * w)).reshape(n, c, h, w)",
    "x = F.relu(x.unsqueeze(0)).squeeze(0)",
    "x = F.relu(x[0]).unsqueeze(0) + x",
    "x = self.act.forward(x)",
    "x = self.act(input=x)",
    "x = self.conv(input=x)",
    "x = self.twin(x)",
    "x = self.conv(x); x = self.twin(F.relu(x))",
    "with torch.no_grad(): z = F.relu(x).mean()\n        x = x + z",
)

SIGNATURES: dict[str, tuple[str, str]] = {
    "one": ("x", "x"),
    "two": ("x, y=None", "x"),
    "dict": ("batch", "{'out': x, 'aux': [x.mean(), 'text']}"),
    "list": ("tensors", "[x, (x + 1,)]"),
}
ENTRIES = {
    "one": "",
    "two": "x = x if y is None else self.act(x + y)",
    "dict": "x = batch['x'] + batch['more'][0]",
    "list": "x = tensors[0] - tensors[1]",
}


@dataclass(frozen=True)
class Program:
    """The source of a random network and the kind of input it takes."""

    source: str
    kind: str

    def build(self) -> nn.Module:
        """Compile the source and build the network."""
        filename = f"<random network {next(_serial)}>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(True), filename)
        namespace: dict[str, Any] = {"__name__": "random_network"}
        exec(compile(self.source, filename, "exec"), namespace)
        model: nn.Module = namespace["Root"]()
        return model

    def inputs(self, batch: int, size: int, seed: int) -> tuple[Any, ...]:
        """Draw inputs of this network."""
        generator = torch.Generator().manual_seed(seed)

        def draw() -> torch.Tensor:
            return torch.randn(batch, WIDTH, size, size, generator=generator)

        kinds: dict[str, Callable[[], tuple[Any, ...]]] = {
            "one": lambda: (draw(),),
            "two": lambda: (draw(), draw()),
            "dict": lambda: ({"x": draw(), "more": [draw()]},),
            "list": lambda: ([draw(), draw()],),
        }
        return kinds[self.kind]()


_serial = count()


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a network of up to three nested blocks under a root."""
    depth = draw(st.integers(0, 3))
    blocks = [_block(draw, index, f"Block{index}", "one") for index in range(depth)]
    kind = draw(st.sampled_from(sorted(SIGNATURES)))
    root = _block(draw, depth, "Root", kind)
    return Program("\n".join([HEADER, *blocks, root]), kind)


def _block(draw: st.DrawFn, index: int, name: str, kind: str) -> str:
    statements = draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=6))
    for child in range(index):
        position = draw(st.integers(0, len(statements)))
        statements[position:position] = [f"x = self.block{child}(x)"] * draw(st.integers(0, 2))
    return _class(name, index, kind, statements, draw(st.booleans()))


def program_of(*statements: str) -> Program:
    """Return the network of these statements."""
    return Program(f"{HEADER}\n{_class('Root', 0, 'one', list(statements), True)}", "one")


def _defines(member: str) -> set[str]:
    buffer = re.search(r"register_buffer\('(\w+)'", member)
    return {f"self.{buffer[1]}"} if buffer else set(re.findall(r"self\.\w+", member)[:1])


def _class(name: str, index: int, kind: str, statements: list[str], flag: bool) -> str:
    arguments, result = SIGNATURES[kind]
    children = [f"self.block{i} = Block{i}()" for i in range(index)]
    half = "self.halved = nn.Conv2d(4, 4, 1)"
    text = "\n".join([*statements, ENTRIES[kind], "self.conv self.act"])
    members = [m for m in (*MEMBERS, half) if _defines(m) & set(re.findall(r"self\.\w+", text))]
    members += [f"self.flag = {flag}", *children]
    body = [ENTRIES[kind], *statements, f"return {result}"]
    return "\n".join(
        [
            f"class {name}(nn.Module):",
            "    def __init__(self):",
            "        super().__init__()",
            *(f"        {line}" for line in members),
            "    def helper(self, x):",
            "        return F.relu(x - 0.1)",
            "    @staticmethod",
            "    def static_helper(x):",
            "        return torch.relu(x) * 0.9",
            f"    def forward(self, {arguments}):",
            *(f"        {line}" for line in body if line),
            "",
        ]
    )
