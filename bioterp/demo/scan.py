"""`bioterp demo scan`: the MNI152 brain, its tissue maps, the reference scan model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp.config import load
from bioterp.demo import write
from bioterp.errors import missing_package
from bioterp.progress import say
from bioterp.records import Run

RUN = """\
# The run this demo makes. Edit it and start it again with `bioterp run`, in another `out`.
out: .
source:
  kind: scans
  items: scans.tsv           # one line per scan; here there is one
  window: 24                 # mm and voxels are the same here
  halo: 16                   # context around each tile, which gives no rows
  blocks: 24mm               # one brain has no other units to divide between train, valid and test: cubes of it
model: {name: bioterp/scan-small}
layers: [2, 4]               # the last blocks of its second and third stage: cells of 2 and 4 mm
dictionary: {kind: topk, width: 512, k: 8, tokens: 400k, seeds: [0, 1, 2]}
dtype: bfloat16              # how activations are stored
labels:                      # probability maps of tissues, 0 to 255: a term is where they are 128 or more
  grey_matter: {column: grey, threshold: 128}
  white_matter: {column: white, threshold: 128}
exports: [tsv, parquet, nifti, h5ad]
"""
IMAGES = {
    "path": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    "grey": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "white": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}


def run(out: Path) -> dict[str, pd.DataFrame]:
    """The whole road on one brain: the MNI152 average that nilearn carries. The run file is left in `out`."""
    from bioterp.study import Study

    return Study(config(out)).execute()


def config(out: Path) -> Run:
    """The run the demo makes; it lies in `out` as run.yaml, beside the sheet of its one scan."""
    folder = images()
    say("MNI152: the average T1 of 152 brains at 1 mm, with its maps of grey and white matter")
    line = ["MNI152", *(str(folder / name) for name in IMAGES.values())]
    write(out / "scans.tsv", "\t".join(["scan", *IMAGES]) + "\n" + "\t".join(line) + "\n")
    write(out / "run.yaml", RUN)
    return load(out / "run.yaml")


def images() -> Path:
    """The folder of nilearn that holds the template."""
    try:
        import nilearn
    except ImportError:
        raise missing_package("nilearn", "demo", "the demo's brain") from None
    return Path(nilearn.__file__).parent / "datasets" / "data"
