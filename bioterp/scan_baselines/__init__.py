"""What a feature of a scan must beat without any model: where a cell lies, and how bright it is.

position   where the cell is within its scan: coordinates, half-spaces, balls about a lattice of middles, and for every
           term the share of train scans, other than its own, that have it at that place (an atlas)
intensity  the image itself in the cell: level, spread, edges, and bands of brightness

Codes are ≥ 0 and computed when read. Whatever is fitted (atlas, ranges, quantiles) sees scans of train only.
"""

from __future__ import annotations

from bioterp.scan_baselines.brightness import intensity as intensity
from bioterp.scan_baselines.where import position as position
