"""One `run.yaml` from end to end, in this process: what there is to analyse, its tables, exports and report."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import __version__, locks, plugins, store, tables, verify
from bioterp.analyses import PLUGGED, plugged
from bioterp.analyses.adjusted import adjusted
from bioterp.analyses.candidates import candidates
from bioterp.analyses.comparison import comparison
from bioterp.analyses.correlation import correlation
from bioterp.analyses.detection import detect
from bioterp.analyses.enrichment import enrichment
from bioterp.analyses.features import features
from bioterp.analyses.headline import headline
from bioterp.analyses.layers import layers as layer_table
from bioterp.analyses.probe_comparison import probe_comparison
from bioterp.analyses.readout import readout
from bioterp.background import covariates
from bioterp.errors import InputError
from bioterp.evidence import RELATIONS
from bioterp.field import Field
from bioterp.planning import OF_PEOPLE, PEOPLE, Representation, Together
from bioterp.probed import probed
from bioterp.progress import say
from bioterp.records import asked
from bioterp.stages import NO_LABELS, Frames
from bioterp.subjects import Subjects

FOLDERS = (
    "rows",
    "labels",
    "activations",
    "activations-random-weights",
    "dictionaries",
    "readout",
    "tables",
    "exports",
    PEOPLE,
)
TABLES = (
    "readout", "detection", "enrichment", "correlation", "features", "blocks", "candidates", "dictionaries", "density",
    "stability", "adjusted", RELATIONS, "loci", "motifs",
    *OF_PEOPLE,
    "probing", "probe_blocks", "curves", "headline",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What the analyses left: joined tables, the codes of the dictionary to show, the labels, fit qualities."""

    joined: Frames
    codes: Field | None
    truth: Field
    qualities: list[dict[str, Any]]


class Study(Subjects):
    """A run from end to end."""

    def analyse(self, one: Representation, truth: Field) -> Frames:
        """The tables of one representation: as they are stored, or made now; of a dictionary with `known`."""
        made = self.tabled(one, truth)
        return made | (self.known(one, truth, made) if one.name == "dictionary" and "detection" in made else {})

    def tabled(self, one: Representation, truth: Field) -> Frames:
        """The tables that one representation has without any other: as they are stored, or made now."""
        signals = self.signals(truth)
        recipe = {
            "codes": one.recipe,
            "truth": [truth.columns.to_csv(), truth.about.get("recipe")],
            "signals": None if signals is None else signals.about.get("recipe"),
            "rows": truth.rows.id,
            "asked": asked(self.run, one.name),
            "code": [
                __version__,
                *tables.code(),
                *(PLUGGED[name].code for name in self.run.analyses if name in PLUGGED),
            ],
        }
        return self._stored_tables(one.folder / "tables", recipe, functools.partial(self._frames, one, truth))

    def _frames(self, one: Representation, truth: Field) -> Frames:
        codes = one.make()
        say(f"analysing {one.name} of layer {one.layer}, seed {one.seed}")
        with self._timed(f"analyses {one.name}"):
            if one.name == "model":
                return {"readout": readout(codes, truth)}
            made: Frames = {}
            if "detection" in self.run.analyses:
                subject = one.name == "dictionary"
                # Of a baseline only its best counts: what each of its features does best is nobody's question.
                detected = detect(codes, truth, per_feature=subject)
                made = {"detection": detected.table, "blocks": detected.blocks}
                if subject:
                    made["features"] = features(codes, made["detection"])
                    made["headline"] = headline(codes, truth, made["detection"], made["blocks"])
                if "enrichment" in self.run.analyses:
                    made["enrichment"] = enrichment(codes, truth, made["detection"], made["blocks"])
                if "adjusted" in self.run.analyses and subject:
                    held = covariates(codes.rows, self.run.adjust, source=self.source, truth=truth)
                    made["adjusted"] = adjusted(codes, truth, held, made["detection"])
            signals = self.signals(truth) if "correlation" in self.run.analyses else None
            if signals is not None:
                made["correlation"] = correlation(codes, signals)
            if "candidates" in self.run.analyses and one.name == "dictionary":
                made["candidates"] = candidates(codes)
            for name in self.run.analyses:
                if name in PLUGGED:
                    made[name] = plugged(name, codes, truth, made.get("detection"))
            if "probing" in self.run.analyses:
                made |= probed(one, codes, truth, first=one.seed == self.run.dictionary.seeds[0])
            return made

    # ------------------------------------------------------------------ the whole

    def execute(self) -> Frames:
        """Every stage; returns the joined tables, which also lie in `out/tables`."""
        with locks.held(self.out):
            found = self.analyse_all()
            self.export_all(found)
            self.report_all(found)
        return found.joined

    def analyse_all(self) -> Found:
        """Activations, labels, dictionaries, baselines, tables; the tables are joined and written."""
        self.check_splits()
        if not self.run.labels and self.run.cohort is None:
            raise InputError(NO_LABELS)
        self.look_at_people()
        store.clear_partials(self.out, deep=False)  # `out` may be a folder of the user's: only our own are searched
        for folder in FOLDERS:
            store.clear_partials(self.out / folder)
        truths = {rows.rows.id: self.truth_or_rows(rows) for rows in self.lattices()}
        parts: list[Frames] = []
        qualities = []
        best: tuple[float, Representation | None] = (-1.0, None)
        for one in self._representations():
            if isinstance(one, Together):
                parts.append(self._stored_tables(one.folder, one.recipe, one.make))
                continue
            frames = self.analyse(one, truths[one.rows.rows.id])
            parts.append(frames)
            if one.quality is not None:
                qualities.append(one.quality())
            dropped: Representation | None = one
            if one.name == "dictionary" and "detection" in frames and one.seed == self.run.dictionary.seeds[0]:
                # The layer to show is chosen like a feature is: by the selection blocks, never by test. The seed is the
                # first, as in the report's tables, so that its pictures and the tracks are of the same features.
                score = _selected(frames["detection"])
                if score > best[0]:
                    dropped, best = best[1], (score, one)
            if dropped is not None and dropped.stored is not None and (self.run.disk or not dropped.quality):
                store.discard(dropped.stored)
        joined = {
            name: pd.concat([p[name] for p in parts if name in p], ignore_index=True)
            for name in (*TABLES, *PLUGGED)
            if any(name in p for p in parts)
        }
        if "detection" in joined:
            joined["layers"] = layer_table(joined["detection"])
            joined["comparison"] = comparison(joined["detection"], joined["blocks"])
        joined = self.over_seeds(joined)
        if "probing" in joined:
            joined["probe_comparison"] = probe_comparison(joined["probing"], joined["probe_blocks"])
        for name, frame in joined.items():
            for ending in ("tsv", "parquet"):
                tables.write(tables.conform(name, frame), self.out / "tables" / f"{name}.{ending}")
        self._tidy(self.out / "tables", [f"{n}.{e}" for n in joined for e in ("tsv", "tsv.json", "parquet")])
        shown = best[1].make() if best[1] else None
        self._drop(self.layers(), False)  # those codes may have had to be made again
        truth = truths[best[1].rows.rows.id] if best[1] else truths[self.rows().rows.id]
        return Found(joined, shown, truth, qualities)

    def truth_or_rows(self, rows: Field) -> Field:
        """The labels, or of a run without any the rows alone: people can be asked about without."""
        return self.truth(rows) if self.run.labels else rows

    def _tidy(self, folder: Path, files: list[str]) -> None:
        """Remove what an earlier run with other settings wrote in a folder, and this one did not; nothing else."""
        record = folder / ".written.json"
        try:
            earlier = json.loads(record.read_text()) if record.exists() else []
        except ValueError:
            say(f"{record.name} in {folder.name} is damaged; what an earlier run left there stays")
            earlier = []
        for name in earlier:
            inside = isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts
            if name not in files and inside:
                (folder / name).unlink(missing_ok=True)
        with store.writing_file(record) as beside:
            beside.write_text(json.dumps(sorted(files)))

    def export_all(self, found: Found) -> None:
        """Tracks and matrices of the shown dictionary's best features."""
        written = []
        if self.run.cohort is not None:
            from bioterp import outcomes

            written = outcomes.export_people(self.run, self.source, found.joined)
        formats = [f for f in self.run.exports if f not in ("tsv", "parquet", "atlas", "phenotypes", "bids")]
        if found.codes is not None and "detection" in found.joined:
            written += self._export_codes(found.codes, found.joined, formats) if formats else []
            written += [self.export_atlas(found.codes, found.joined)] if "atlas" in self.run.exports else []
        self._tidy(self.out / "exports", [path.relative_to(self.out / "exports").as_posix() for path in written])

    def _export_codes(self, codes: Field, joined: Frames, formats: list[str]) -> list[Path]:
        from bioterp.export import export

        about, mine = codes.about, joined["detection"]
        same = (mine["dictionary"] == about["dictionary"]) & (mine["layer"] == str(about["layer"]))
        mine = mine[same & (mine["seed"] == about["seed"])]
        mine = mine[(mine["feature"] != tables.NO_FEATURE) & mine["f1_select"].notna()]
        ranked = mine.sort_values("f1_select", ascending=False, kind="stable").drop_duplicates("feature")
        chosen = ranked["feature"].head(self.run.export_features).to_numpy(np.int64)
        if not len(chosen):
            say("nothing is exported: no feature could be scored")
            return []
        written: list[Path] = []
        with self._timed("exports"):
            for kind in formats:
                say(f"exporting {kind}")
                written += export(codes, chosen, self.out / "exports", format=kind, table=ranked)
        return written

    def report_all(self, found: Found) -> Path:
        """run.json and report.html."""
        from bioterp.report import report  # matplotlib: only where something is drawn
        from bioterp.report.pictures import save_layers

        about = {"config": json.loads(json.dumps(dataclasses.asdict(self.run), default=_shown))}
        about["config"]["model"]["name"] = (
            _shown(Path(self.run.model.name)) if Path(self.run.model.name).is_dir() else self.run.model.name
        )
        about |= {"plugins": plugins.told()} if plugins.told() else {}
        about |= {"quality": found.qualities, "rows": len(found.truth), "stages": self.seconds, **store.provenance()}
        blocks = found.truth.rows.items.groupby("split")["block"].nunique().to_dict()
        about |= {self.source.modality_word: self.source.described(), "splits": blocks}
        if "layers" in found.joined:
            save_layers(found.joined["layers"], self.out / "layers.png")
        say("writing the report")
        page = report(
            self.out / "report.html",
            tables=found.joined,
            codes=found.codes,
            truth=found.truth,
            about=about,
            sequence_name=self.source.name,
            images=getattr(self.source, "volume", None),
        )
        verify.record(self.out, about)  # last: it holds the hashes of all the rest
        return page


def _selected(detection: pd.DataFrame) -> float:
    """Mean over terms of the best F1 above chance where features were chosen."""
    above = detection["f1_select"] - detection["f1_select_null"]
    return float(above.groupby(detection["term"]).max().fillna(0).mean())  # a term that is not found counts, as 0


def _shown(value: Any) -> str:
    """A configuration value in run.json: of a path only its name, for reports travel and folders are private."""
    return value.name if isinstance(value, Path) else str(value)
