"""What a run will take, stage by stage: seconds, memory, disk, from a law fitted to measured runs.

    sizes.py      a run in numbers: rows, channels, features, k, seeds, layers, arithmetic of the model
    law.py        how much of what each stage does of them
    measured.json seconds and bytes per unit of that, as measured (which machine, which day)
    machine.py    how fast this machine is, told in a second by a matrix product
    estimate.py   all of it together

`benchmarks/cost.py` measures, fits measured.json, and holds it against runs of another size.
"""

from bioterp.cost.estimate import Estimate, Stage, estimate
from bioterp.cost.sizes import Size, size_of

__all__ = ["Estimate", "Size", "Stage", "estimate", "size_of"]
