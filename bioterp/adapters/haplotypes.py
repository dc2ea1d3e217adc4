"""People's sequences: a VCF laid on its reference, window by window; what people share is run once.

An item is one distinct sequence of one window, and `carriers` says whose it is. So cost grows with distinct windows and
not with people. Items are split by locus, like the windows of one genome; people by person or family (`people`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import store
from bioterp.adapters import Item
from bioterp.adapters.assembly import check_length, check_mismatches, name_in, no_contig_in_common
from bioterp.adapters.calls import UNKNOWN, UNPHASED, Changes, Rules, Tally, read_changes, refuse_unphased
from bioterp.adapters.carriers import Carriers
from bioterp.adapters.distinct import Chosen, Reach, Variety, spans_of
from bioterp.adapters.dna import DNA
from bioterp.adapters.people import Samples, read_people
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.genotypes import VCF
from bioterp.grid import Grid, Space
from bioterp.progress import say, track
from bioterp.sequence import MASKED, Sequences, reverse_complement

MISMATCHES = 0.01


class Haplotypes:
    """A cohort's haplotypes as a source of windows.

    vcf: VCF or BCF with genotypes, or several of the same people (one per chromosome). reference: the FASTA or GenBank
    it was called on. regions, window, halo, strands, blocks, circular, seed: as in `bioterp.DNA`, in reference
    coordinates. samples: a sheet, or ids (default: everybody; see `people`). contigs: names to keep, or {name in the
    reference: name in the VCF}. missing: genotypes without a call are 'reference', or 'mask' (N over the record's REF,
    which gives no rows). unphased: heterozygous genotypes without phase, and two alleles where a person has one
    haplotype (heteroplasmy), are 'refuse'd, taken as written ('first': the first allele on the first haplotype), or
    'mask'ed. ploidy: 1 or 2 everywhere; None = as most of a person's calls in the window say. mismatches: the share of
    REF alleles that may differ from the reference; the records that do are left out.

    Alleles that are not spelt out (<DEL>, *, breakends) change nothing and are counted. Where alleles of a haplotype
    overlap, the one that comes first in the file stands. All counts are in `counts`. Iterating yields (Item, array,
    Grid) like `DNA`; the Grid is irregular where there are insertions (cells without width) or deletions (gaps).
    Insertions take room from the outer ends of the halo: arrays are no longer than window and halo, unless a core is.

    people: item (the person), sample, block, split, and what the sheet says. carriers: who has which item.
    unmatched: people who are in the sheet or in the VCF only. windows: one line per window and strand.
    """

    modality = "dna"
    modality_word = "sequence"

    def __init__(
        self,
        vcf: str | Path | Sequence[str | Path],
        reference: str | Path,
        *,
        samples: Samples = None,
        regions: str | Path | None = None,
        window: int = 512,
        halo: int | Sequence[int] = 128,
        strands: str = "both",
        blocks: str | int | None = None,
        contigs: Sequence[str] | Mapping[str, str] | None = None,
        circular: bool | list[str] | None = None,
        missing: str = "reference",
        unphased: str = "refuse",
        ploidy: int | None = None,
        mismatches: float = MISMATCHES,
        distinct: bool = True,
        seed: int = 0,
    ):
        for name, value, known in (("missing", missing, UNKNOWN), ("unphased", unphased, UNPHASED)):
            if value not in known:
                raise InputError(f"{name} is one of {', '.join(known)}; got {value!r}")
        if ploidy not in (None, 1, 2):
            raise InputError(f"ploidy is 1, 2 or None (as the calls say); got {ploidy!r}")
        named = dict(contigs) if isinstance(contigs, Mapping) else {}
        paths = [Path(one) for one in ([vcf] if isinstance(vcf, str | Path) else vcf)]
        if not paths:
            raise InputError("vcf names no file; give a VCF, or a list of them")
        self.vcfs = [VCF(path) for path in paths]
        self.rules = Rules(missing, unphased, ploidy)
        self.mismatches, self.distinct, self.tally = float(mismatches), bool(distinct), Tally()
        self.people, self.unmatched = self._everybody(samples, seed)
        keep = list(contigs) if contigs else None
        self.dna = DNA(
            reference, window=window, halo=halo, strands=strands, blocks=blocks, regions=regions, contigs=keep,
            circular=circular, seed=seed,
        )  # fmt: skip
        self._named = self._names(named)
        self.windows = self.dna.items
        self._records: dict[str, int] = {}
        self._cores: dict[str, dict[tuple[int, int], int]] = {}
        self._reaches = {contig: self._read(contig) for contig in self.windows["contig"].unique()}
        refuse_unphased(self.name, self.tally, self.rules)
        if not (keep or regions):  # what nobody was called on is not everybody's reference sequence
            called = [contig for contig in self._reaches if self._records[contig]]
            self.windows = self.windows[self.windows["contig"].isin(called)].reset_index(drop=True)
        self.items, self.carriers = self._plan()
        self.counts: dict[str, Any] = {**self.tally.told(), **self.counted()}
        say(self.told())
        self.recipe: dict[str, Any] = {
            **self.dna.recipe, "kind": "haplotypes", "vcf": [store.file_sha256(path) for path in paths],
            "people": store.digest(list(self.people["sample"])), "names": self._named, "missing": missing,
            "unphased": unphased, "ploidy": ploidy, "distinct": self.distinct,
        }  # fmt: skip

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[Item, Array, Grid]]:
        return self.read(0, len(self))

    @property
    def name(self) -> str:
        return self.vcfs[0].path.name + (f" and {len(self.vcfs) - 1} more" if len(self.vcfs) > 1 else "")

    @property
    def blocks_told(self) -> str:
        return self.dna.blocks_told

    @property
    def sequences(self) -> Sequences:
        """The reference."""
        return self.dna.sequences

    @property
    def spaces(self) -> dict[str, Space]:
        return self.dna.spaces

    @property
    def cells(self) -> int:
        """Bases of all cores that are run."""
        return int(self.items["cells"].sum())

    @property
    def item_cells(self) -> int:
        """Bases of a core, at most."""
        return int(self.items["cells"].max())

    def counted(self) -> dict[str, int]:
        """What was saved: distinct windows among those all haplotypes have, and bases to run (halos included)."""
        all_of_them = int(self.carriers.haplotype.size)
        return {"people": len(self.people), "windows": all_of_them, "distinct_windows": len(self.items),
                "bases": int(self.items["length"].sum())}  # fmt: skip

    def told(self) -> str:
        """The counts in one sentence, those that are not zero."""
        c = self.counts
        odd = {
            "mixed": "calls of two alleles on one haplotype", "doubled": "haploid calls of diploid people",
            "unphased": "unphased calls", "missing": "missing calls", "overlapping": "overlapping alleles left out",
            "ref_mismatches": "records left out for their REF",
        }  # fmt: skip
        said = [f"{c[key]:,} {what}" for key, what in odd.items() if c[key]]
        said += [f"{n:,} calls of {name} (not spelt out, left as the reference)" for name, n in c["skipped"].items()]
        return (
            f"{c['people']:,} people, {c['records']:,} records: {c['distinct_windows']:,} distinct of "
            f"{c['windows']:,} windows" + (f"; {'; '.join(said)}" if said else "")
        )

    def described(self) -> dict[str, Any]:
        """What a report says of the source; nothing of any one person."""
        return {"file": self.name, "reference": self.dna.path.name, "block_bp": self.dna.block, **self.counts}

    def read(self, lo: int, hi: int) -> Iterator[tuple[Item, Array, Grid]]:
        """Items lo:hi; windows in which every base of the core is masked give none."""
        for at in range(lo, min(hi, len(self))):
            record = self.items.iloc[at].to_dict()
            contig, strand = record["contig"], record["strand"]
            first, last = self.dna._reach(contig, record["start"], record["end"], strand)
            core = (record["start"], record["end"])
            array, bounds = self._reaches[contig].read(first, last, core, self._chosen[at], self._bases(contig))
            inside = (bounds.sum(1) >= 2 * core[0]) & (bounds.sum(1) < 2 * core[1])
            if (array[inside] == MASKED).all():
                continue
            space = self.dna.spaces[contig]
            plain = bool((np.diff(bounds, axis=1) == 1).all() and (np.diff(bounds[:, 0]) == 1).all())
            if strand == "-":
                array, bounds = reverse_complement(array), bounds[::-1]
            step = -1 if strand == "-" else 1
            grid = (
                Grid.line(space, int(bounds[:, 0].min()), int(bounds[:, 1].max()), strand)
                if plain
                else Grid(space, (len(bounds),), bounds=bounds, step=step)
            )
            yield Item(record, (np.array([core[0]]), np.array([core[1]])), array == MASKED), array, grid

    def __repr__(self) -> str:
        return f"Haplotypes({self.name} on {self.dna.path.name}: {self.told()})"

    # ------------------------------------------------------------------ reading

    def _everybody(self, samples: Samples, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """People who are in every VCF and in the sheet."""
        first, *others = self.vcfs
        shared = [one for one in first.samples if all(one in other.samples for other in others)]
        if not shared:
            raise InputError(f"{first.path.name} and {others[0].path.name} have no person in common")
        partly = sorted({one for vcf in self.vcfs for one in vcf.samples} - set(shared))
        people, unmatched = read_people(samples, shared, seed)
        lines = pd.DataFrame({"sample": partly, "reason": "not in every VCF"})
        return people, pd.concat([unmatched, lines], ignore_index=True) if partly else unmatched

    def _names(self, given: Mapping[str, str]) -> dict[str, list[tuple[int, str]]]:
        """{contig: [(VCF, its name there)]} of the contigs some VCF speaks of."""
        found: dict[str, list[tuple[int, str]]] = {}
        for theirs in given.values():
            if not any(theirs in vcf.contigs or not vcf.contigs for vcf in self.vcfs):
                known = [name for vcf in self.vcfs for name in vcf.contigs]
                raise InputError(f"contigs= speaks of {theirs!r}, which no VCF does; {nearest(theirs, known)}")
        for contig, space in self.dna.spaces.items():
            for at, vcf in enumerate(self.vcfs):
                named = name_in(vcf, contig, given)
                if named is not None:
                    check_length(vcf, named, int(space.length or 0))
                    found.setdefault(contig, []).append((at, named))
        if not found:
            raise no_contig_in_common(self.vcfs[0], list(self.dna.spaces))
        return found

    def _bases(self, contig: str) -> Any:
        return lambda lo, hi: self.dna.sequences.read(contig, lo, hi)

    def _read(self, contig: str) -> Reach:
        """Everything people differ by on a contig, as far as windows and halos reach."""
        here = self.windows[self.windows["contig"] == contig]
        space = self.dna.spaces[contig]
        length = int(space.length or 0)
        cores = here[["start", "end"]].drop_duplicates().sort_values("start").to_numpy(np.int64)
        arrays = [self.dna._reach(contig, row.start, row.end, row.strand) for row in here.itertuples()]
        spans = spans_of(arrays, length)
        parts: list[Changes] = []
        begun = self.tally.records
        for at, theirs in self._named.get(contig, []):
            vcf = self.vcfs[at]
            place = {name: i for i, name in enumerate(vcf.samples)}
            columns = [place[name] for name in self.people["sample"]]
            before, compared = len(self.tally.mismatches), self.tally.compared
            part = read_changes(vcf, theirs, columns, spans, cores, length, self._bases(contig), self.rules, self.tally)
            check_mismatches(
                vcf, self.tally.mismatches[before:], self.tally.compared - compared, self.mismatches,
                lambda record, shift: self.dna.sequences.read(contig, record.start + shift, record.end + shift),
            )  # fmt: skip
            if part.edits or not parts:
                parts.append(part)
        told = [part for part in parts if part.edits]
        if len(told) > 1:
            raise InputError(f"{contig} is in {len(told)} of the VCFs; give each contig in one file")
        nobody = np.zeros(0, np.int32)
        none = Changes([], nobody, nobody, np.full((len(cores), len(self.people)), 2, np.int8))
        self._cores[contig] = {(a, b): i for i, (a, b) in enumerate(cores.tolist())}
        self._records[contig] = self.tally.records - begun
        return Reach((told or parts or [none])[0], length if space.circular else 0)

    # ------------------------------------------------------------------ what is run

    def _plan(self) -> tuple[pd.DataFrame, Carriers]:
        """One line per distinct sequence of a window and strand, and who has it."""
        lines: list[dict[str, Any]] = []
        carried: list[tuple[Array, Array]] = []
        self._chosen: list[Chosen] = []
        for row in track(self.windows.to_dict("records"), "distinct windows", len(self.windows)):
            contig, core = row["contig"], (row["start"], row["end"])
            first, last = self.dna._reach(contig, *core, row["strand"])
            reach = self._reaches[contig]
            ploidy = reach.changes.ploidy[self._cores[contig][core]]
            for one in self._separate(reach.varieties(first, last, core, ploidy, self._bases(contig))):
                own = {"item": f"{row['item']}/{one.key}", "sample": one.key}
                lines.append(
                    {**row, **own, "haplotypes": len(one.haplotypes), "cells": one.cells, "length": one.length}
                )
                carried.append((one.haplotypes, 1 / ploidy[one.haplotypes // 2]))
                self._chosen.append(one.edits)
        return pd.DataFrame(lines), Carriers.of(self.people["sample"], [line["item"] for line in lines], carried)

    def _separate(self, found: list[Variety]) -> list[Variety]:
        """With distinct=False every haplotype is an item of its own: what people would cost without sharing."""
        if self.distinct:
            return found
        return [
            Variety(one.edits, np.array([h]), one.length, one.cells, f"{one.key}-{h}")
            for one in found
            for h in one.haplotypes
        ]
