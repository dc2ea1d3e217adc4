"""One `run.yaml` from end to end, in this process (floor 7).

Every stage writes under `out` with its recipe and is skipped when it is already there, so the same command resumes. A
folder made with other settings is refused by the store, except labels and tables, which are cheap and made anew.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import baselines, store, tables
from bioterp.activate import activations
from bioterp.adapters.dna import DNA
from bioterp.analyses.detection import detection
from bioterp.analyses.enrichment import enrichment
from bioterp.analyses.features import features
from bioterp.analyses.readout import readout
from bioterp.annotations import join, label
from bioterp.config import Run
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.export import export
from bioterp.field import Field
from bioterp.models import load_model
from bioterp.progress import say
from bioterp.report import report
from bioterp.train import fit

Frames = dict[str, pd.DataFrame]


class Study:
    """The stages of one run, each callable alone: `activate`, `truth`, `dictionary`, `analyse`, `export`, `report`."""

    def __init__(self, run: Run):
        self.run = run
        self.out = run.out
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"out: {self.out} is a file; give a folder")
        self.source = DNA(
            run.source.fasta,
            seed=run.seed,
            **{
                f.name: getattr(run.source, f.name)
                for f in dataclasses.fields(run.source)
                if f.name not in ("kind", "fasta")
            },
        )
        self.seconds: dict[str, float] = {}

    # ------------------------------------------------------------------ stages

    def model(self, random: bool = False) -> Any:
        spec = self.run.model
        weights = "random" if random else spec.weights
        return load_model(
            spec.name,
            weights=weights,
            revision=spec.revision,
            trust_remote_code=spec.trust_remote_code,
            **spec.options,
            **({"like": spec.weights} if random and spec.weights else {}),
        )

    def activate(self, random: bool = False) -> dict[int | str, Field]:
        """{layer: Field}; 'output' is added when a readout is asked for."""
        layers = [layer for layer in self.run.layers if not (random and layer == "output")]
        if "readout" in self.run.analyses and not random and "output" not in layers:
            layers = ["output", *layers]
        name = "activations" if not random else "activations-random-weights"
        with self._timed(name):
            return activations(self.source, self.model(random), layers, self.out / name, dtype=self.run.dtype)

    def truth(self, acts: Field) -> Field:
        """The labels of every source, joined."""
        parts = []
        with self._timed("labels"):
            for name, spec in self.run.labels.items():
                folder = self.out / "labels" / f"rows={acts.rows.id[:12]}" / name
                made_from = store.file_sha256(spec.path) if spec.path and spec.path.is_file() else spec.call
                recipe = {"name": name, "from": made_from, "options": spec.options, "rows": acts.rows.id}
                parts.append(
                    self._stored_field(folder, recipe, lambda spec=spec, name=name: self._label(acts, spec, name))
                )
        if not parts:
            raise InputError(
                "labels names no annotation; give labels: {genes: annotation.gff.gz} or {genes: {call: genes}}"
            )
        return join(parts) if len(parts) > 1 else parts[0]

    def _label(self, acts: Field, spec: Any, name: str) -> Field:
        source: Any = spec.path
        if spec.call is not None:
            from bioterp.annotations.call import call_genes

            if spec.call != "genes":
                raise InputError(f"labels.{name}.call: {spec.call!r} is not known; call: genes")
            say("calling genes")
            source = call_genes(self.run.source.fasta)
        return label(acts.rows, source, **spec.options)

    def dictionary(self, acts: Field, layer: int | str, seed: int, random: bool = False) -> tuple[Dictionary, Field]:
        """The fitted dictionary of a layer and seed, and the codes of all rows."""
        spec = self.run.dictionary
        named = f"{spec.kind}-{spec.width}-k{spec.k}" + ("-random-weights" if random else "")
        folder = self.out / "dictionaries" / named / f"layer={layer}" / f"seed={seed}"
        recipe = store.digest([dataclasses.asdict(spec) | {"seeds": seed}, acts.about, acts.rows.id])
        if (folder / "dictionary" / "meta.json").exists():
            sae = Dictionary.load(folder / "dictionary")
            if sae.about.get("recipe") != recipe:
                shutil.rmtree(folder)
        if not (folder / "dictionary" / "meta.json").exists():
            with self._timed(f"fit {named} layer {layer}"):
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
            quality = made.quality(acts.split("valid"))
            about = {
                **made.about,
                **quality,
                "dictionary": named,
                "representation": "random-weights" if random else "dictionary",
                "recipe": recipe,
            }
            dataclasses.replace(made, about=about).save(folder / "dictionary")
        sae = Dictionary.load(folder / "dictionary")
        with self._timed(f"codes {named} layer {layer}"):
            return sae, sae.encode(acts, out=folder / "codes")

    def analyse(self, codes: Field, truth: Field, path: Path) -> Frames:
        """The tables of one representation on one layer."""
        recipe = {
            "codes": codes.about,
            "truth": truth.columns.to_csv(),
            "rows": truth.rows.id,
            "analyses": self.run.analyses,
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
        store.clear_partials(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        begun = time.time()
        fields = self.activate()
        rows_of = next(iter(fields.values()))
        truth = self.truth(rows_of)
        parts: list[Frames] = []
        if "readout" in self.run.analyses:
            parts.append({"readout": readout(fields["output"], truth)})
        fitted = {layer: field for layer, field in fields.items() if layer != "output" or "output" in self.run.layers}
        best: tuple[float, Field | None] = (-1.0, None)
        qualities = []
        for codes, path in self._representations(fitted):
            say(f"analysing {codes.about['representation']} of layer {codes.about.get('layer')}")
            frames = self.analyse(codes, truth, path)
            parts.append(frames)
            if codes.about["representation"] in ("dictionary", "random-weights"):
                qualities.append(codes.about)
            if codes.about["representation"] == "dictionary" and "detection" in frames:
                score = float(frames["detection"].groupby("term")["f1"].max().mean())
                best = max(best, (score, codes), key=lambda pair: pair[0])
        joined = {
            name: pd.concat([p[name] for p in parts if name in p], ignore_index=True)
            for name in ("readout", "detection", "enrichment", "features")
            if any(name in p for p in parts)
        }
        for name, frame in joined.items():
            for ending in ("tsv", "parquet"):
                tables.write(tables.conform(name, frame), self.out / "tables" / f"{name}.{ending}")
        self._export(best[1], joined)
        about = {"config": json.loads(json.dumps(dataclasses.asdict(self.run), default=str)), "quality": qualities}
        about |= {
            "rows": len(truth),
            "seconds": round(time.time() - begun, 1),
            "stages": self.seconds,
            **store.provenance(),
        }
        about["sequence"] = {
            "file": self.source.path.name,
            "sha256": self.source.recipe["sha256"],
            "block_bp": self.source.block,
        }
        about["splits"] = truth.rows.items.groupby("split")["block"].nunique().to_dict()
        with store.writing_file(self.out / "run.json") as beside:
            beside.write_text(json.dumps(about, indent=1, default=str))
        with self._timed("report"):
            report(self.out / "report.html", tables=joined, codes=best[1], truth=truth, about=about)
        return joined

    def _representations(self, fields: dict[int | str, Field]) -> Iterator[tuple[Field, Path]]:
        """The codes to analyse and where their tables go: dictionaries first, then what they must beat."""
        spec, wanted = self.run.dictionary, self.run.baselines
        root = self.out / "dictionaries"
        for layer, acts in fields.items():
            for seed in spec.seeds:
                _, codes = self.dictionary(acts, layer, seed)
                yield codes, codes.path.parent if codes.path else root
        for layer, acts in fields.items():
            for name, make in (("neurons", baselines.neurons), ("pca", baselines.pca)):
                if name in wanted:
                    yield make(acts).encode(acts), root / name / f"layer={layer}"
            if "random-directions" in wanted:
                made = baselines.random_directions(acts, spec.width, spec.k, spec.seeds[0])
                yield made.encode(acts), root / "random-directions" / f"layer={layer}"
        if "random-weights" in wanted:
            for layer, acts in self.activate(random=True).items():
                _, codes = self.dictionary(acts, layer, spec.seeds[0], random=True)
                yield codes, codes.path.parent if codes.path else root
        if "composition" in wanted:
            rows = next(iter(fields.values())).rows
            codes = baselines.composition(self.source.sequences, rows)
            codes.about["layer"] = "sequence"
            yield codes, root / "composition"

    def _export(self, codes: Field | None, joined: Frames) -> None:
        formats = [f for f in self.run.exports if f not in ("tsv", "parquet")]
        if codes is None or not formats or "detection" not in joined:
            return
        mine = joined["detection"]
        same = (mine["dictionary"] == codes.about["dictionary"]) & (mine["layer"] == str(codes.about["layer"]))
        mine = mine[same & (mine["seed"] == codes.about["seed"]) & (mine["representation"] == "dictionary")]
        ranked = mine.sort_values("f1", ascending=False).drop_duplicates("feature")
        chosen = ranked["feature"].head(self.run.export_features).to_numpy(np.int64)
        with self._timed("exports"):
            for kind in formats:
                export(codes, chosen, self.out / "exports", format=kind, table=ranked)

    # ------------------------------------------------------------------ keeping what is done

    def _stored_field(self, folder: Path, recipe: Any, make: Callable[[], Field]) -> Field:
        if (folder / "meta.json").exists():
            found = Field.open(folder)
            if found.about.get("recipe") == store.digest(recipe):
                return found
            shutil.rmtree(folder)
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
