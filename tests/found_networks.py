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
    # The height for channels: it failed at any other image size.
    "one sample without a batch axis": _program("x = F.relu(x[0]).unsqueeze(0) + x"),
}
