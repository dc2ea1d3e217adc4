"""What a run file says, as typed records: one per block of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASELINES = ("neurons", "pca", "random-directions", "random-weights")  # of every modality
ANALYSES: dict[str, tuple[str, ...]] = {
    "dna": ("detection", "enrichment", "adjusted", "fidelity"),
    "haplotypes": ("fidelity",),
    "scans": ("detection", "enrichment", "adjusted", "candidates", "fidelity"),
}
OF_KIND: dict[str, tuple[str, ...]] = {
    "dna": ("composition",),
    "haplotypes": (),
    "scans": ("position", "intensity"),
}  # what a source alone can tell


@dataclass(frozen=True)
class DNASource:
    """Where sequences come from; the keywords of `bioterp.DNA`.

    duplicates: a run is refused when this share of a block's 21-mers, or more, lies in blocks of other splits; above 1
    never. together: blocks that share so much are put into one split first (`bioterp.keep_together`). shards: into how
    many jobs a run in jobs divides what the model reads; stored in as many pieces at least.
    """

    kind: str
    fasta: Path
    window: int = 2048
    halo: int | list[int] = 512
    strands: str = "both"
    blocks: str | int | None = None
    regions: Path | None = None
    contigs: list[str] | None = None
    circular: bool | list[str] | None = None
    sample: str | None = None
    duplicates: float = 0.6
    together: bool = False
    shards: int = 1


@dataclass(frozen=True)
class ScanSource:
    """Where scans come from; the keywords of `bioterp.Scans`. What is left out is taken as the model wants it."""

    kind: str
    items: Path
    orientation: str | None = None
    spacing: float | list[float] | None = None
    intensity: str | dict[str, Any] | None = None
    oblique: str | None = None
    shape: list[int] | None = None
    multiple: int | list[int] | None = None
    window: int | list[int] | None = None
    halo: int | list[int] | None = None
    blocks: str = "subject"
    channels: list[str] | None = None
    suffix: str | None = None
    assume_ras: bool = False
    shards: int = 1


@dataclass(frozen=True)
class HaplotypeSource:
    """Where people's sequences come from; the keywords of `bioterp.Haplotypes`. Who they are is the cohort's matter."""

    kind: str
    vcf: Path | list[Path]
    reference: Path
    samples: Path | None = None
    regions: Path | None = None
    window: int = 512
    halo: int | list[int] = 128
    strands: str = "both"
    blocks: str | int | None = None
    contigs: list[str] | dict[str, str] | None = None
    circular: bool | list[str] | None = None
    missing: str = "reference"
    unphased: str = "refuse"
    ploidy: int | None = None
    mismatches: float = 0.01
    shards: int = 1


SOURCES: dict[str, type] = {"dna": DNASource, "scans": ScanSource, "haplotypes": HaplotypeSource}


@dataclass(frozen=True)
class PCs:
    """Principal components of genotypes: of VCFs off the target, or as another tool wrote them.

    vcf: of contigs the source does not read. path: a PLINK .eigenvec or a REGENIE covariate file. n: how many.
    """

    vcf: Path | list[Path] | None = None
    path: Path | None = None
    n: int = 10


@dataclass(frozen=True)
class Cohort:
    """People, their outcomes and what else is known of them: columns of a sheet with a line per person or subject.

    mediators are never adjusted for. pool: how codes become one row per person ('mean', 'max', 'top', 'fraction').
    """

    samples: Path
    outcome: str | list[str]
    covariates: list[str] = field(default_factory=list)
    confounders: list[str] = field(default_factory=list)
    groups: str | None = None
    mediators: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    key: str | None = None
    pcs: PCs | None = None
    pool: str = "mean"
    regions: Path | None = None


@dataclass(frozen=True)
class Model:
    """A name from `bioterp list models`, a folder, a hub id, or package.module:factory.

    The last, and trust_remote_code, run code that the file names: both need --trust-remote-code on the command line.
    """

    name: str
    weights: Path | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dictionary:
    """How dictionaries are fitted, one per layer and seed; or, with path, which ones are analysed.

    path: a dictionary of bioterp or another tool (a file or folder), or one for each layer: {2: …, 4: …}. k: then only
    where the file does not say it. Other keys are those of `bioterp.load_dictionary`: format, threshold, ….
    """

    kind: str = "topk"
    width: int = 4096
    k: int = 32
    tokens: int | str | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    batch: int | None = None
    lr: float | None = None
    selection: str = "float32"
    path: Path | dict[str, Path] | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """One source of ground truth; what its keys mean is `bioterp.label`'s matter.

    path: an annotation file. call: genes, found on the spot. column: of the scans' sheet, naming a mask per scan.
    """

    path: Path | None = None
    call: str | None = None
    column: str | None = None
    within: Path | dict[str, Any] | None = None
    sequence: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def numbers(self) -> bool:
        """Whether it gives numbers rather than intervals: a bigWig, or a density without a threshold."""
        signal = self.path is not None and self.path.name.lower().endswith((".bw", ".bigwig"))
        return signal or (bool(self.options.get("density")) and self.options.get("threshold") is None)


@dataclass(frozen=True)
class Run:
    """The whole run.

    disk: the most the folder `out` may hold, e.g. 25GB. Activations and codes are then dropped once their tables are
    made (the codes of the dictionary to show stay), and layers go through the model in as many groups as that takes.
    adjust: what the analysis `adjusted` holds fixed: gc, gc:N, kmer, kmer:K, phase, edge:TERM; of scans position,
    intensity. By default gc and, where labels tell it, phase; of scans both.
    """

    out: Path
    source: DNASource | ScanSource | HaplotypeSource
    model: Model
    layers: list[int | str]
    dictionary: Dictionary = field(default_factory=Dictionary)
    labels: dict[str, Label] = field(default_factory=dict)
    analyses: list[str] = field(default_factory=lambda: list(ANALYSES["dna"]))
    adjust: list[str] | None = None
    baselines: list[str] = field(default_factory=lambda: [*BASELINES, *OF_KIND["dna"]])
    cohort: Cohort | None = None
    exports: list[str] = field(default_factory=lambda: ["tsv"])
    export_features: int = 20
    seed: int = 0
    dtype: str | None = None
    disk: int | str | None = None


OF_DICTIONARIES = ("adjusted", "candidates")  # analyses that baselines are not asked
APART = ("readout", "fidelity")  # analyses that are of a model's outputs, or of a layer, and of no set of codes


def asked(run: Run, representation: str) -> dict[str, Any]:
    """What the tables of one set of codes hang on in the run file, beside the codes and the labels: plain JSON."""
    if representation == "model":
        return {"analyses": ["readout"]}
    mine = [name for name in run.analyses if name not in APART]
    if representation != "dictionary":
        return {"analyses": [name for name in mine if name not in OF_DICTIONARIES]}
    return {"analyses": mine, **({"adjust": run.adjust} if "adjusted" in mine else {})}


CHOICES: dict[str, tuple[str, ...]] = {
    "source.kind": tuple(SOURCES),
    "source.strands": ("both", "+", "-", "regions"),
    "source.oblique": ("straighten", "keep"),
    "source.missing": ("reference", "mask"),
    "source.unphased": ("refuse", "first", "mask"),
    "cohort.pool": ("mean", "max", "top", "fraction"),
    "dictionary.kind": ("topk", "batchtopk", "matryoshka"),
    "dictionary.selection": ("float32", "bfloat16"),
    "analyses": (
        "detection",
        "enrichment",
        "adjusted",
        "readout",
        "correlation",
        "candidates",
        "fidelity",
        "probing",
    ),
    "baselines": (*BASELINES, *(name for names in OF_KIND.values() for name in names)),
    "exports": ("tsv", "parquet", "bigwig", "bedgraph", "bed", "nifti", "h5ad", "atlas", "phenotypes", "bids"),
    "dtype": ("float32", "bfloat16", "float16"),
}
