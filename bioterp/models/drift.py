"""Where a layer's cells look, beside where they are said to be.

A lattice divides the array evenly: cell i of stride s stands for the voxels [s·i, s·(i + 1)). A convolution of three
with stride two and padding one is centred on the *first* of its two voxels, and the shift grows with every such step
to (s − 1) / 2 voxels towards the origin; patches, pooling and Swin's merging have none. A network may unlearn some of
it. `drift` measures it on an array; the option `anchor='corner'` of a VolumeModel puts the lattice there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioterp.arrays import Array
from bioterp.models.base import Layer
from bioterp.models.hooks import as_found, first_tensor
from bioterp.models.volumes import VolumeModel


def drift(model: VolumeModel, layer: Layer, array: Array, cells: int = 8, seed: int = 0) -> Array:
    """(cells, 3) voxels from the middle of a cell's own voxels to the middle of what it responds to.

    array: (channels, x, y, z), best a scan. cells: how many are looked at, of the middle third of each axis. What a
    cell responds to is the squared gradient of its squared norm, for the array as it is.
    """
    name, stride = model.resolve(layer), np.array(model.stride(layer))
    (part,) = model.prepare([array]).parts
    inputs = {key: value.to(model.device).requires_grad_() for key, value in part.inputs.items()}
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(part.layout.unpack(first_tensor(output, name), name))

    module = model.module if name == "output" else model.module.get_submodule(name)
    handle = module.register_forward_hook(keep)
    try:
        with as_found(model.module, grad=True):
            model._call(inputs)()
            voxels = np.array(array.shape[1:])
            lattice = voxels // stride
            random = np.random.default_rng(seed)
            found = []
            for _ in range(cells):
                cell = random.integers(lattice // 3, lattice - lattice // 3)
                value = kept[0][0, int(np.ravel_multi_index(tuple(cell), tuple(lattice)))]
                (gradient,) = torch.autograd.grad(value.square().sum(), inputs["x"], retain_graph=True)
                seen = gradient.double().square()
                if model.frame.slices is not None:
                    seen = seen.unflatten(0, (1, -1)).movedim(1, 2 + model.frame.slices)  # type: ignore[no-untyped-call]
                weight = seen[0].sum(0).cpu().numpy()
                weight /= weight.sum()
                middle = [(weight.sum(tuple({0, 1, 2} - {a})) * (np.arange(voxels[a]) + 0.5)).sum() for a in range(3)]
                found.append(np.array(middle) - (cell + 0.5) * stride)
    finally:
        handle.remove()
    return np.array(found)
