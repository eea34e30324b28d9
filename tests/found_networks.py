"""Random networks that once found a fault, kept with what the fault was."""

from __future__ import annotations

from random_networks import HEADER, Program


def _program(*statements: str) -> Program:
    body = "\n".join(f"        {statement}" for statement in statements)
    return Program(
        f"""{HEADER}
class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
    def forward(self, x):
        x = self.conv(self.first(x))
{body}
        return x
""",
        "one",
    )


FOUND: dict[str, Program] = {
    # A DY-ReLU for as many channels as the example had samples: it failed at any other batch.
    "batch on the channel axis": _program("x = F.relu(x.unsqueeze(0)).squeeze(0)"),
    # The write into y is hidden by a later ReLU on large maps, and seen on small ones.
    "a write that a branch hides": _program(
        "y = x; x = self.act(x); x = x + y",
        "x = F.leaky_relu(x, 0.1)",
        "x = F.relu(x) if x.shape[2] > 6 else x * 0.5",
    ),
    # A ReLU of what is positive on large maps writes nothing new there, and does on small ones.
    "a write of the same numbers": _program(
        "x = F.relu(x) if x.shape[2] > 6 else x * 0.5",
        "y = x * 1.0; self.act(y); x = y",
    ),
    # The height for channels: it failed at any other image size.
    "one sample without a batch axis": _program("x = F.relu(x[0]).unsqueeze(0) + x"),
}
