"""A convolutional network with known kernels: it reads planted motifs, composition and codons, and mixes them.

Nothing is trained. Kernels are made of the motifs' consensus (their reverse complements too), so what the network can
know of a sequence is known; a random rotation mixes it all into channels, which a dictionary has to take apart again.

    model = bt.load_model("reading:reader", weights="random", arguments={"motifs": ["ACGTNNACGT", …]})
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 64
FAR = 64  # bases on either side that a channel reads, at most
LEAST = 0.85  # of a motif's letters that must be right for its channel to leave 0
DISTRACTORS = 24  # random words of six letters


def turned(word: str) -> str:
    """The reverse complement of a word in A, C, G, T, N."""
    return word[::-1].translate(str.maketrans("ACGT", "TGCA"))


class Reader(nn.Module):
    """(items, 4, length) one-hot → (items, CHANNELS, length)."""

    def __init__(self, motifs: Sequence[str]):
        super().__init__()
        drawn = torch.Generator().manual_seed(17)
        random = torch.randint(0, 4, (DISTRACTORS, 6), generator=drawn)
        words = [*motifs, *map(turned, motifs), *("".join("ACGT"[i] for i in line) for line in random.tolist())]
        words += [*"ACGT", *(a + b for a in "ACGT" for b in "ACGT")]
        self.reads = words
        kernels = torch.zeros(len(words), 4, max(map(len, words)))
        for i, word in enumerate(words):
            kernels[i, :, : len(word)] = torch.tensor([[float(letter == base) for letter in word] for base in "ACGT"])
        self.register_buffer("kernels", kernels)
        counted = kernels.sum((1, 2))
        self.register_buffer("least", torch.where(counted > 2, counted * LEAST - 1e-3, counted - 0.5))
        self.register_buffer("length", torch.tensor([len(word) for word in words]))
        known = len(words) + 4
        self.register_buffer("mix", torch.nn.functional.normalize(torch.randn(CHANNELS, known, generator=drawn), dim=0))
        self.blocks = nn.ModuleList([nn.Identity()])

    def forward(self, x: Tensor) -> Tensor:
        """Each channel is a mixture of what is read at a base: words it is part of, GC around it, GC of codons."""
        length, longest = x.shape[-1], self.kernels.shape[-1]
        hits = functional.conv1d(functional.pad(x, (0, longest - 1)), self.kernels)
        hits = (hits - self.least[:, None]).clamp(min=0) / (self.kernels.sum((1, 2)) - self.least)[:, None]
        read = torch.zeros_like(hits)
        for size in self.length.unique().tolist():  # a word lights up all its letters
            own = self.length == size
            spread = functional.max_pool1d(functional.pad(hits[:, own], (size - 1, 0)), size, stride=1)
            read[:, own] = spread * size**0.5
        strong = x[:, 1:3].sum(1, keepdim=True)
        wide = functional.avg_pool1d(functional.pad(strong, (FAR, FAR)), 2 * FAR + 1, stride=1)
        thirds = torch.zeros(1, 1, 2 * FAR + 1)
        thirds[..., FAR % 3 :: 3] = 3 / (2 * FAR + 1)
        period = functional.conv1d(functional.pad(strong, (FAR, FAR)), thirds.to(x)) - wide
        around = [6 * (wide - 0.5), *(12 * torch.roll(period, shift, -1).clamp(min=0.02) for shift in range(3))]
        return self.blocks[0](torch.einsum("ck,bkl->bcl", self.mix, torch.cat([read, *around], 1)[..., :length]))


def reader(motifs: Sequence[str]) -> Reader:
    """The network that reads these motifs."""
    return Reader(motifs)
