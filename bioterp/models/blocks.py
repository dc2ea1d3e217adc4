"""Which modules of a network are its blocks, so that layer i has a name."""

from __future__ import annotations

from torch import nn


def find_blocks(root: nn.Module) -> list[str]:
    """Full names of the blocks in order: the members of the longest outermost ModuleList.

    Outermost, because the experts or branches inside a block are lists too; of equal length, the one with more
    parameters. A network without a ModuleList has the members of its longest Sequential as blocks, or none.
    """
    for kind in (nn.ModuleList, nn.Sequential):
        lists = {name: module for name, module in root.named_modules() if isinstance(module, kind) and len(module)}
        outermost = {
            name: module
            for name, module in lists.items()
            if not any(other != name and name.startswith(f"{other}." if other else "") for other in lists)
        }
        if outermost:
            name = max(outermost, key=lambda n: (len(outermost[n]), sum(p.numel() for p in outermost[n].parameters())))
            return [f"{name}.{child}" if name else child for child, _ in outermost[name].named_children()]
    return []
