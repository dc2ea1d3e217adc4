"""One `run.yaml` from end to end, in this process.

Every stage writes under `out` with its recipe and is skipped when it is already there, so the same command resumes. A
folder made with other settings is refused by the store, except labels and tables, which are cheap and made anew.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import __version__, baselines, store, tables
from bioterp.activate import activations
from bioterp.analyses.detection import detection
from bioterp.analyses.enrichment import enrichment
from bioterp.analyses.features import features
from bioterp.analyses.readout import readout
from bioterp.annotations import join, label
from bioterp.config import Run
from bioterp.dictionary import Dictionary, Encoded
from bioterp.errors import InputError
from bioterp.export import export
from bioterp.field import Field
from bioterp.opening import check_paths, open_model, open_source
from bioterp.progress import say
from bioterp.report import report
from bioterp.rows import SPLITS
from bioterp.train import fit

Frames = dict[str, pd.DataFrame]
NO_LABELS = "labels names no annotation; give labels: {genes: annotation.gff.gz} or {genes: {call: genes}}"


@dataclass(frozen=True)
class Found:
    """What the analyses left: joined tables, the codes of the dictionary to show, the labels, fit qualities."""

    joined: Frames
    codes: Field | None
    truth: Field
    qualities: list[dict[str, Any]]


class Study:
    """The stages of one run, each callable alone; a later one runs what it needs that is not there yet."""

    def __init__(self, run: Run):
        self.run = run
        self.out = run.out
        check_paths(run)
        self.source = open_source(run)
        self.seconds: dict[str, float] = {}

    # ------------------------------------------------------------------ stages

    def activate(self, random: bool = False) -> dict[int | str, Field]:
        """{layer: Field}; 'output' is added when a readout is asked for."""
        layers = [layer for layer in self.run.layers if not (random and layer == "output")]
        if "readout" in self.run.analyses and not random and "output" not in layers:
            layers = ["output", *layers]
        name = "activations" if not random else "activations-random-weights"
        with self._timed(name):
            return activations(self.source, open_model(self.run, random), layers, self.out / name, dtype=self.run.dtype)

    def truth(self, acts: Field) -> Field:
        """The labels of every source, joined."""
        parts = []
        with self._timed("labels"):
            for name, spec in self.run.labels.items():
                folder = self.out / "labels" / f"rows={acts.rows.id[:12]}" / name
                sources = [_content(one) for one in (spec.path, spec.call, spec.within, spec.sequence)]
                recipe = {"name": name, "from": sources, "options": spec.options, "rows": acts.rows.id}
                parts.append(self._stored_field(folder, recipe, functools.partial(self._label, acts, spec, name)))
                for line in parts[-1].about.get("warnings", []):
                    say(f"labels.{name}: {line}")
        if not parts:
            raise InputError(NO_LABELS)
        if len(parts) == 1:
            return parts[0]
        joined = join(parts)
        joined.about["recipe"] = store.digest([part.about["recipe"] for part in parts])
        return joined

    def _label(self, acts: Field, spec: Any, name: str) -> Field:
        source: Any = spec.path
        options = dict(spec.options)
        sequence = spec.sequence
        if sequence is None and "code" in options:  # a genetic code is checked against bases: the run's own
            sequence = self.run.source.fasta
        if spec.call is not None:
            from bioterp.annotations.call import call_genes

            if spec.call != "genes":
                raise InputError(f"labels.{name}.call: {spec.call!r} is not known; call: genes")
            say("calling genes")
            asked = {key: options.pop(key) for key in ("table", "rrna") if key in options}
            source = call_genes(self.run.source.fasta, **asked)
        return label(acts.rows, source, within=spec.within, sequence=sequence, **options)

    def fitted(self, acts: Field, layer: int | str, seed: int, random: bool = False) -> Dictionary:
        """The dictionary of a layer and seed, fitted unless it is there already."""
        spec = self.run.dictionary
        folder = self._folder(layer, seed, random)
        sizes = {k: v for k, v in dataclasses.asdict(spec).items() if k != "seeds"}
        recipe = store.digest([sizes, seed, acts.about, acts.rows.id])
        if (folder / "dictionary" / "meta.json").exists():
            sae = Dictionary.load(folder / "dictionary")
            if sae.about.get("recipe") == recipe:
                return sae
        store.discard(folder)
        with self._timed(f"fit {folder.parent.parent.name} layer {layer}"):
            made = fit(
                acts.split("train"),
                width=spec.width,
                k=spec.k,
                seed=seed,
                kind=spec.kind,
                tokens=spec.tokens if isinstance(spec.tokens, int) else None,
                batch=spec.batch,
                lr=spec.lr,
            )
        about = {**made.about, **made.quality(acts.split("valid")), "dictionary": folder.parent.parent.name}
        about |= {"representation": "random-weights" if random else "dictionary", "recipe": recipe}
        dataclasses.replace(made, about=about).save(folder / "dictionary")
        return Dictionary.load(folder / "dictionary")

    def codes(self, acts: Field, sae: Dictionary, layer: int | str, seed: int, random: bool = False) -> Field:
        """The stored codes of all rows."""
        folder = self._folder(layer, seed, random)
        with self._timed(f"codes {folder.parent.parent.name} layer {layer}"):
            return sae.encode(acts, out=folder / "codes")

    def _folder(self, layer: int | str, seed: int, random: bool) -> Path:
        spec = self.run.dictionary
        named = f"{spec.kind}-{spec.width}-k{spec.k}" + ("-random-weights" if random else "")
        return self.out / "dictionaries" / named / f"layer={layer}" / f"seed={seed}"

    def analyse(self, codes: Field, truth: Field, path: Path) -> Frames:
        """The tables of one representation on one layer."""
        recipe = {
            "codes": [codes.about, codes.data.dictionary.id if isinstance(codes.data, Encoded) else None],
            "truth": [truth.columns.to_csv(), truth.about.get("recipe")],
            "rows": truth.rows.id,
            "analyses": self.run.analyses,
            "code": [__version__, tables.SCHEMA_VERSION],
        }

        def make() -> Frames:
            made: Frames = {}
            if "detection" in self.run.analyses:
                made["detection"] = detection(codes, truth)
                if codes.about.get("representation") == "dictionary":
                    made["features"] = features(codes, made["detection"])
                if "enrichment" in self.run.analyses:
                    made["enrichment"] = enrichment(codes, truth, made["detection"])
            return made

        with self._timed(f"analyses {codes.about.get('representation')}"):
            return self._stored_tables(path / "tables", recipe, make)

    # ------------------------------------------------------------------ the whole

    def execute(self) -> Frames:
        """Every stage; returns the joined tables, which also lie in `out/tables`."""
        found = self.analyse_all()
        self.export_all(found)
        self.report_all(found)
        return found.joined

    def rows(self) -> Field:
        """A Field on the rows of the run: any layer's activations."""
        return next(iter(self.activate().values()))

    def dictionaries(self, encode: bool = True) -> Iterator[tuple[int | str, int, Dictionary, Any]]:
        """(layer, seed, dictionary, codes or None) of every layer and seed."""
        self.check_splits()
        for layer, acts in self._fitted(self.activate()).items():
            for seed in self.run.dictionary.seeds:
                sae = self.fitted(acts, layer, seed)
                yield layer, seed, sae, self.codes(acts, sae, layer, seed) if encode else None

    def check_splits(self) -> None:
        """Raise when a split would be empty: found here, and not after the model has run."""
        present = set(self.source.items["split"])
        for name in SPLITS:
            if name not in present:
                raise InputError(
                    f"no block of {self.source.block:,} bp fell into the split {name!r}; give smaller ones "
                    f"(source.blocks: {max(200, self.source.block // 5)}) or another seed"
                )

    def analyse_all(self) -> Found:
        """Activations, labels, dictionaries, baselines, tables; the tables are joined and written."""
        self.check_splits()
        if not self.run.labels:
            raise InputError(NO_LABELS)
        store.clear_partials(self.out)
        fields = self.activate()
        truth = self.truth(next(iter(fields.values())))
        parts: list[Frames] = []
        if "readout" in self.run.analyses:
            fields["output"].about |= {"dictionary": self.run.model.name, "representation": "model"}
            parts.append({"readout": readout(fields["output"], truth)})
        best: tuple[float, Field | None] = (-1.0, None)
        qualities = []
        for codes, path in self._representations(self._fitted(fields)):
            say(f"analysing {codes.about['representation']} of layer {codes.about.get('layer')}")
            frames = self.analyse(codes, truth, path)
            parts.append(frames)
            if codes.about["representation"] in ("dictionary", "random-weights"):
                qualities.append(codes.about)
            if codes.about["representation"] == "dictionary" and "detection" in frames:
                # The layer to show is chosen like a feature is: by the selection blocks, never by test.
                score = float(frames["detection"].groupby("term")["f1_select"].max().mean())
                best = max(best, (score, codes), key=lambda pair: pair[0])
        joined = {
            name: pd.concat([p[name] for p in parts if name in p], ignore_index=True)
            for name in ("readout", "detection", "enrichment", "features")
            if any(name in p for p in parts)
        }
        for name, frame in joined.items():
            for ending in ("tsv", "parquet"):
                tables.write(tables.conform(name, frame), self.out / "tables" / f"{name}.{ending}")
        return Found(joined, best[1], truth, qualities)

    def export_all(self, found: Found) -> None:
        """Tracks and matrices of the shown dictionary's best features."""
        formats = [f for f in self.run.exports if f not in ("tsv", "parquet")]
        if found.codes is None or not formats or "detection" not in found.joined:
            return
        about, mine = found.codes.about, found.joined["detection"]
        same = (mine["dictionary"] == about["dictionary"]) & (mine["layer"] == str(about["layer"]))
        mine = mine[same & (mine["seed"] == about["seed"])]
        ranked = mine.sort_values("f1_select", ascending=False, kind="stable").drop_duplicates("feature")
        chosen = ranked["feature"].head(self.run.export_features).to_numpy(np.int64)
        with self._timed("exports"):
            for kind in formats:
                say(f"exporting {kind}")
                export(found.codes, chosen, self.out / "exports", format=kind, table=ranked)

    def report_all(self, found: Found) -> Path:
        """run.json and report.html."""
        about = {"config": json.loads(json.dumps(dataclasses.asdict(self.run), default=_shown))}
        about["config"]["model"]["name"] = (
            _shown(Path(self.run.model.name)) if Path(self.run.model.name).is_dir() else self.run.model.name
        )
        about |= {"quality": found.qualities, "rows": len(found.truth), "stages": self.seconds, **store.provenance()}
        sequence = {
            "file": self.source.path.name,
            "sha256": self.source.recipe["sha256"],
            "block_bp": self.source.block,
        }
        blocks = found.truth.rows.items.groupby("split")["block"].nunique().to_dict()
        about |= {"sequence": sequence, "splits": blocks}
        with store.writing_file(self.out / "run.json") as beside:
            beside.write_text(json.dumps(about, indent=1, default=str))
        say("writing the report")
        return report(
            self.out / "report.html",
            tables=found.joined,
            codes=found.codes,
            truth=found.truth,
            about=about,
            sequence_name=self.source.path.name,
        )

    def _fitted(self, fields: dict[int | str, Field]) -> dict[int | str, Field]:
        """The layers dictionaries are fitted to: not the output, unless it was asked for."""
        return {layer: field for layer, field in fields.items() if layer != "output" or "output" in self.run.layers}

    def _representations(self, fields: dict[int | str, Field]) -> Iterator[tuple[Field, Path]]:
        """The codes to analyse and where their tables go: dictionaries first, then what they must beat."""
        spec, wanted = self.run.dictionary, self.run.baselines
        root = self.out / "dictionaries"
        for layer, acts in fields.items():
            for seed in spec.seeds:
                yield self.codes(acts, self.fitted(acts, layer, seed), layer, seed), self._folder(layer, seed, False)
        for layer, acts in fields.items():
            for name, make in (("neurons", baselines.neurons), ("pca", baselines.pca)):
                if name in wanted:
                    yield make(acts).encode(acts), root / name / f"layer={layer}"
            if "random-directions" in wanted:
                made = baselines.random_directions(acts, spec.width, spec.k, spec.seeds[0])
                yield made.encode(acts), root / "random-directions" / f"layer={layer}"
        if "random-weights" in wanted:
            for layer, acts in self.activate(random=True).items():
                sae = self.fitted(acts, layer, spec.seeds[0], random=True)
                codes = self.codes(acts, sae, layer, spec.seeds[0], random=True)
                yield codes, self._folder(layer, spec.seeds[0], True)
        if "composition" in wanted:
            rows = next(iter(fields.values())).rows
            codes = baselines.composition(self.source.sequences, rows)
            codes.about["layer"] = "sequence"
            yield codes, root / "composition"

    # ------------------------------------------------------------------ keeping what is done

    def _stored_field(self, folder: Path, recipe: Any, make: Callable[[], Field]) -> Field:
        if (folder / "meta.json").exists():
            found = Field.open(folder)
            if found.about.get("recipe") == store.digest(recipe):
                return found
        store.discard(folder)
        made = make()
        made.about["recipe"] = store.digest(recipe)
        return made.save(folder)

    def _stored_tables(self, folder: Path, recipe: Any, make: Callable[[], Frames]) -> Frames:
        mark = store.digest(recipe)
        if (folder / "meta.json").exists():
            found = store.read(folder)
            if found.meta.get("recipe") == mark:
                return {name: found.table(name) for name in found.tables}
        made = make()
        store.write(folder, tables=made, meta={"recipe": mark})
        return made

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - begun, 2)


def _shown(value: Any) -> str:
    """A configuration value in run.json: of a path only its name, for reports travel and folders are private."""
    return value.name if isinstance(value, Path) else str(value)


def _content(value: Any) -> Any:
    """What a recipe remembers of a value: of a file its hash, so that an edited file is another."""
    return store.file_sha256(value) if isinstance(value, Path) and value.is_file() else value
