"""Genes of a bare sequence: CDS and their ribosome binding sites by pyrodigal, rRNA by pybarrnap.

Both are GPL-3.0, the optional extra `call`, imported inside functions only and never vendored.
Prodigal: Hyatt et al. 2010, doi 10.1186/1471-2105-11-119; pyrodigal: Larralde 2022, doi 10.21105/joss.04296.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp.annotations.call_cds import CODES, coding
from bioterp.annotations.call_rrna import ribosomal
from bioterp.annotations.codes import read_sequence
from bioterp.annotations.features import table_of
from bioterp.errors import InputError

# The term is 'RBS', as users and Prodigal say, and the key of INSDC records until 2014 (since then `regulatory` with
# regulatory_class=ribosome_binding_site). In the Sequence Ontology it is Shine_Dalgarno_sequence, SO:0000552, a kind of
# ribosome_entry_site, SO:0000139: only sites that pair with 16S rRNA are given.
COLUMNS = ("contig", "start", "end", "strand", "type", "id", "name", "phase", "source", "attributes")
EVIDENCE = ("start_codon", "stop_codon", "rbs_motif", "rbs_spacer", "score", "confidence")


def call_genes(path: str | Path, table: int | None = None, rrna: bool = True) -> pd.DataFrame:
    """CDS (both strands), ribosome binding sites and rRNA of a FASTA file, as a feature table `label` takes.

    Parameters
    ----------
    path: FASTA or GenBank file (plain or .gz), of which only the bases are read.
    table: genetic code, 11 (bacteria, archaea) or 4 (Mycoplasma, Spiroplasma; also code 25, which has the same
        start and stop codons). None detects it: 4 where the sequence's coding density in code 4 is above
        0.70 and exceeds that in code 11 by more than 0.05 (CheckM's rule), else 11. Sequences of 20 kb and more
        in all train one model; less is called with Prodigal's ready models, the best scoring for each contig.
    rrna: also find rRNA, of bacteria.

    Returns
    -------
    A feature table (0-based half-open, bp; `features.py`) of the types CDS, RBS and rRNA. Beside its columns:
    start_codon, stop_codon: bases of a CDS ('' where a contig's end cuts it; then `start_range`, `end_range` are
        among the attributes, and no codon is derived there). Contigs are read as linear.
    rbs_motif, rbs_spacer: of a CDS, Prodigal's class and range ('GGAG/GAGG', '5-10bp'); of an RBS, its own bases
        and bp to the start codon ('GGAG', '7bp'). A CDS whose Shine-Dalgarno motif lies at one single place in
        the range has an RBS (`call_rbs.py`); other motifs that Prodigal finds upstream ('AAT') have none.
    score: Prodigal's log-odds score (of an RBS, that of the site alone); confidence: 50 to 100 %. NaN for rRNA.
    `attrs`: contigs {name: bp}, transl_table (tuple of the codes used), called.

    Raises InputError for another code than 4 and 11, a file that is no sequence, an absent package.
    """
    if table is not None and table not in CODES:
        raise InputError(f"genes can be called with the genetic codes 4 and 11; got table={table}")
    sequence = read_sequence(path)
    found = coding(sequence, table)
    used = {int(line["attributes"].rpartition("transl_table=")[2]) for line in found if line["type"] == "CDS"}
    if rrna:
        found.extend(ribosomal(sequence))
    frame = table_of({name: [line.get(name) for line in found] for name in COLUMNS + EVIDENCE})
    words, numbers = list(EVIDENCE[:4]), list(EVIDENCE[4:])
    frame[words] = frame[words].fillna("").astype(object)
    frame[numbers] = frame[numbers].astype("float64")
    frame.attrs["contigs"] = {name: len(bases) for name, bases in sequence.items()}
    frame.attrs["transl_table"] = tuple(sorted(used))
    frame.attrs["called"] = True
    return frame
