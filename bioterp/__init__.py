"""bioterp: open scientific foundation models.

Public names are imported when first used, so that `import bioterp` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

__version__ = "0.1.0"

# public name → module that defines it
_NAMES = {
    "AlignmentError": "bioterp.errors",
    "BioterpError": "bioterp.errors",
    "InputError": "bioterp.errors",
    "StoreError": "bioterp.errors",
    "Grid": "bioterp.grid",
    "Space": "bioterp.grid",
    "Rows": "bioterp.rows",
    "Field": "bioterp.field",
    "DNA": "bioterp.adapters.dna",
    "Haplotypes": "bioterp.adapters.haplotypes",
    "Scans": "bioterp.adapters.volume",
    "load_model": "bioterp.models",
    "keep_together": "bioterp.leakage",
    "activations": "bioterp.activate",
    "stream": "bioterp.streaming",
    "import_activations": "bioterp.importing",
    "Dictionary": "bioterp.dictionary",
    "load_dictionary": "bioterp.checkpoints",
    "calibrate": "bioterp.checkpoints",
    "inspect": "bioterp.checkpoints",
    "fit": "bioterp.train",
    "fit_many": "bioterp.train",
    "quality_report": "bioterp.quality",
    "label": "bioterp.annotations",
    "call_genes": "bioterp.annotations",
    "genotype_pcs": "bioterp.annotations.ancestry",
    "read_pcs": "bioterp.annotations.ancestry",
    "Cohort": "bioterp.annotations.cohort",
    "read_cohort": "bioterp.annotations.cohort",
    "detection": "bioterp.analyses.detection",
    "detect": "bioterp.analyses.detection",
    "enrichment": "bioterp.analyses.enrichment",
    "screen": "bioterp.analyses.screen",
    "correlation": "bioterp.analyses.correlation",
    "covariates": "bioterp.background",
    "adjusted": "bioterp.analyses.adjusted",
    "headline": "bioterp.analyses.headline",
    "readout": "bioterp.analyses.readout",
    "features": "bioterp.analyses.features",
    "relations": "bioterp.analyses.relations",
    "replication": "bioterp.analyses.replication",
    "described": "bioterp.analyses.described",
    "discoveries": "bioterp.analyses.discoveries",
    "loci": "bioterp.analyses.loci",
    "motifs": "bioterp.analyses.motifs",
    "atlas": "bioterp.atlas",
    "layers": "bioterp.analyses.layers",
    "candidates": "bioterp.analyses.candidates",
    "comparison": "bioterp.analyses.comparison",
    "audit": "bioterp.analyses.audit",
    "marker": "bioterp.analyses.marker",
    "Marker": "bioterp.analyses.formula",
    "pool": "bioterp.pooling",
    "association": "bioterp.analyses.association",
    "associate": "bioterp.analyses.association",
    "confounding": "bioterp.analyses.confounding",
    "verdicts": "bioterp.analyses.verdicts",
    "probing": "bioterp.analyses.probing",
    "probe_comparison": "bioterp.analyses.probe_comparison",
    "plug": "bioterp.plugins",
    "export": "bioterp.export",
    "report": "bioterp.report",
}

__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'bioterp' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """Keeps `bioterp.export` and `bioterp.report` functions, also once the modules of these names are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _NAMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
