"""The stages of one run, each callable alone: rows, labels, activations, dictionaries, codes.

Every stage writes under `out` with its recipe and is skipped when it is already there, so the same command resumes. A
folder made with other settings is refused by the store, except labels and tables, which are cheap and made anew.
Stages ask for what they need and nothing runs before it is read: a table that is there needs no codes, codes that
are there no activations. With `disk`, activations and codes go as soon as their tables are made. As one of several
jobs of a run (`job`) a stage waits while another makes what it needs, fits one seed at a time, and drops nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from bioterp import __version__, kept, leakage, locks, marks, store
from bioterp.activate import about_layer, activations, cells
from bioterp.annotations import join, label
from bioterp.annotations.reading import code_of
from bioterp.brought import Brought
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.opening import check_paths, content, masks, open_model, open_source
from bioterp.planning import Layer, groups, room_for_activations
from bioterp.progress import say
from bioterp.records import DNASource, HaplotypeSource, Label, Run
from bioterp.remembered import Remembered
from bioterp.rows import SPLITS
from bioterp.train import fit_many
from bioterp.train.world import world
from bioterp.values import Deferred, Values

Frames = dict[str, pd.DataFrame]
NO_CELL = "it has no cell: it is smaller than one of the model's, or all of it has one value"
MOST_WARNINGS = 4
NO_LABELS = "labels names no annotation; give labels: {genes: annotation.gff.gz} or {genes: {call: genes}}"


class Stages:
    """What a run makes, step by step; a later stage runs what it needs that is not there yet.

    job: this process is one of several that write into `out`. threads: of a fit; by default all there are.
    """

    def __init__(self, run: Run, job: bool = False, threads: int | None = None):
        self.run, self.job, self.threads = run, job, threads
        self.fresh = False  # whether what is remembered of the model is to be told anew
        self.out = run.out
        check_paths(run)
        self.brought = Brought(run) if run.dictionary.path is not None else None
        if self.brought is not None:
            self.run = run = self.brought.settled()
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]
        self._models: dict[bool, Any] = {}
        self._open: dict[tuple[bool, Layer], Values] = {}
        self._rows: dict[tuple[int, ...], Field] = {}
        self._said: set[str] = set()
        self.source = open_source(run, functools.partial(self._model, False))

    def activate(
        self, random: bool = False, layers: Sequence[Layer] | None = None, part: tuple[int, int] | None = None
    ) -> dict[Layer, Field]:
        """{layer: Field} of these layers, by default all; 'output' is among them when a readout is asked for.

        part: (i, n), the i-th of n parts alone, 0-based; then of the layers that are whole with it.
        """
        name = self.folder(random)
        wanted = self.layers(random) if layers is None else list(layers)
        with self._timed(name), self.sole(name) if part is None else nullcontext():
            return activations(
                self.source,
                self._model(random),
                wanted,
                self.out / name,
                dtype=self.run.dtype,
                shards=getattr(self.run.source, "shards", 1),
                part=part,
            )

    def folder(self, random: bool) -> str:
        """The name of the folder of activations."""
        return "activations-random-weights" if random else "activations"

    def sole(self, what: str) -> AbstractContextManager[None]:
        """Wait, as one of several jobs, until no other makes the same; what was made meanwhile is then found."""
        return locks.turn(self.out, what) if self.job and world().is_first else nullcontext()

    def layers(self, random: bool = False) -> list[Layer]:
        """The layers to read; of random weights the outputs mean nothing."""
        layers = [layer for layer in self.run.layers if not (random and layer == "output")]
        if "readout" in self.run.analyses and not random and "output" not in layers:
            layers = ["output", *layers]
        return layers

    def rows(self, layer: Layer | None = None) -> Field:
        """The rows of a layer (by default the first), as a Field without columns; layers the model lacks are refused.

        Layers on the same lattice share their rows; those of a model that reads DNA are all on one.
        """
        model = self._model(False)
        shapes = {one: model.cell_shape(one) for one in self.layers()}
        shape = shapes[self.layers()[0] if layer is None else layer]
        if shape not in self._rows:
            folder = self.out / "rows" / f"cells={'x'.join(map(str, shape))}"
            with self._timed("rows"), self.sole(f"rows {shape}"):
                self._rows[shape] = cells(self.source, model, next(k for k, v in shapes.items() if v == shape), folder)
            self._note_left_out(self._rows[shape])
        return self._rows[shape]

    def lattices(self) -> list[Field]:
        """The rows of the run, once for every lattice its layers lie on."""
        by_id = {rows.rows.id: rows for rows in map(self.rows, self.layers())}
        made = list(by_id.values())
        held = {scan for rows in made for scan in rows.rows.items["sample"]}
        without = [scan for scan in getattr(self.source, "scans", ()) if scan not in held]
        if without and not held:
            raise InputError(f"none of the {len(without)} scans has a cell of the model; give a smaller source.spacing")
        if without:
            self.source.recall(pd.DataFrame({"scan": without, "reason": NO_CELL}))
            self._note_left_out(made[0])
        return made

    def _note_left_out(self, rows: Field) -> None:
        """Keep, and say, which scans could not be used: the others go on without them."""
        if not hasattr(self.source, "left_out"):
            return
        kept, earlier = self.out / "left_out.tsv", None
        if kept.exists():  # voxels that an earlier run could not read are not read again: their scans have no rows
            earlier = pd.read_csv(kept, sep="\t", dtype=str, keep_default_na=False)
            self.source.recall(earlier[~earlier["scan"].isin(rows.rows.items["sample"])])
        left_out = self.source.left_out.drop(columns="path").reset_index(drop=True)
        if left_out.equals(earlier) or (earlier is None and left_out.empty):
            return
        with store.writing_file(kept) as beside:
            left_out.to_csv(beside, sep="\t", index=False)
        said = set() if earlier is None else set(earlier["scan"])
        for line in left_out.itertuples():
            if line.scan not in said:
                say(f"left out: {line.scan}: {line.reason}")

    def truth(self, rows: Field) -> Field:
        """The interval labels of every source, joined, on the rows of a Field."""
        joined = self._labels(rows, numbers=False)
        if joined is None:
            raise InputError(NO_LABELS)
        return joined

    def signals(self, rows: Field) -> Field | None:
        """The labels that are numbers, joined; None when there are none."""
        return self._labels(rows, numbers=True)

    def _labels(self, rows: Field, numbers: bool) -> Field | None:
        parts = [self.labelled(rows, name) for name, spec in self.run.labels.items() if spec.numbers == numbers]
        if len(parts) < 2:
            return parts[0] if parts else None
        joined = join(parts)
        joined.about["recipe"] = store.digest([part.about["recipe"] for part in parts])
        return joined

    def labelled(self, rows: Field, name: str) -> Field:
        """One source of labels, on the rows of a Field."""
        spec = self.run.labels[name]
        folder = self.out / "labels" / f"rows={rows.rows.id[:12]}" / name
        with self._timed("labels"), self.sole(f"label {rows.rows.id[:12]} {name}"):
            sources = [content(one) for one in (spec.path, spec.call, spec.within, spec.sequence)]
            sources += [*masks(spec, self.source, rows.rows), *code_of(spec.path)]
            recipe = {"name": name, "from": sources, "options": spec.options, "rows": rows.rows.id}
            recipe |= {"source": self.source.recipe, "code": __version__}  # bases are called, and codons checked
            made = self._stored_field(folder, recipe, functools.partial(self._label, rows, spec, name))
        self._warn([f"labels.{name}: {line}" for line in made.about.get("warnings", [])])
        return made

    def _warn(self, lines: list[str]) -> None:
        """Say what was not said before, and not too much of it; the labels keep it all."""
        new = [line for line in lines if line not in self._said]
        self._said |= set(new)
        more = f"… and {len(new) - MOST_WARNINGS} more of the kind; out/labels keeps them all"
        for line in [*new[:MOST_WARNINGS], *[more] * (len(new) > MOST_WARNINGS)]:
            say(line)

    def _label(self, rows: Field, spec: Label, name: str) -> Field:
        source: Any = spec.path
        options = dict(spec.options)
        if spec.numbers:
            options.setdefault("name", name)
        sequence = spec.sequence
        if (
            sequence is None and "code" in options and rows.rows.ndim == 1
        ):  # a genetic code is checked against bases: the run's own
            sequence = self._fasta()
        if spec.call is not None:
            from bioterp.annotations.call import call_genes

            if spec.call != "genes":
                raise InputError(f"labels.{name}.call: {spec.call!r} is not known; call: genes")
            say("calling genes")
            asked = {key: options.pop(key) for key in ("table", "rrna") if key in options}
            source = call_genes(self._fasta(), **asked)
        if rows.rows.ndim == 3:
            if options.get("density") or options.get("threshold") is not None:
                options.setdefault("name", name)
            if spec.column and spec.path is None:
                return label(rows.rows, self.source.files(spec.column), **options)
            return label(rows.rows, source, column=spec.column, **options)
        return label(rows.rows, source, within=spec.within, sequence=sequence, **options)

    def _fasta(self) -> Path:
        if isinstance(self.run.source, HaplotypeSource):
            return self.run.source.reference
        assert isinstance(self.run.source, DNASource)  # config refuses call: and code: for other kinds
        return self.run.source.fasta

    def fitted(self, acts: Field, layer: Layer, seed: int, random: bool = False) -> Dictionary:
        """The dictionary of a layer and seed; unless it is there fitted, with the layer's other seeds in one pass.

        A job fits its own seed alone: the same dictionary to the bit.
        """
        if world().size > 1:  # one process runs the model, where that is still to be done
            if world().is_first:
                acts.read(0, 1)
            world().barrier()
        with self.sole(f"fit {self._folder(layer, seed, random).relative_to(self.out)}"):
            found = self._found(acts, layer, seed, random)
            return self._fit(acts, layer, seed, random) if found is None else found

    def _fit(self, acts: Field, layer: Layer, seed: int, random: bool) -> Dictionary:
        if self.brought is not None and not random:
            self._keep(self.brought.of(acts, layer), acts, layer, seed, random)
            return Dictionary.load(self._folder(layer, seed, random) / "dictionary")
        spec = self.run.dictionary
        every = [seed] if random or self.job else spec.seeds
        seeds = [one for one in every if self._found(acts, layer, one, random) is None]
        name = self._folder(layer, seed, random).parent.parent.name
        keep = self._folder(layer, seed, random).parent / (f"training-seed={seed}" if self.job else "training")
        with self._timed(f"fit {name} layer {layer}"):
            own = {name: getattr(spec, name) for name in ("width", "k", "kind", "lr", "selection")}
            made = fit_many(
                acts.split("train"),
                [{**own, "seed": one} for one in seeds],
                tokens=spec.tokens if isinstance(spec.tokens, int) else None,
                batch=spec.batch,
                threads=self.threads,
                keep=keep,
            )
            if world().is_first:
                for one, sae in zip(seeds, made, strict=True):
                    self._keep(sae, acts, layer, one, random)
        world().barrier()
        if world().is_first:
            store.discard(keep)
        return Dictionary.load(self._folder(layer, seed, random) / "dictionary")

    def _keep(self, sae: Dictionary, acts: Field, layer: Layer, seed: int, random: bool) -> None:
        """Store a dictionary with how well it does on held-out rows."""
        folder = self._folder(layer, seed, random)
        about = {**sae.about, **sae.quality(acts.split("valid")), "dictionary": folder.parent.parent.name}
        kind = "random-weights" if random else "dictionary"
        about |= {"recipe": self._recipe(acts, seed), "representation": kind}
        store.discard(folder)
        dataclasses.replace(sae, about=about).save(folder / "dictionary")

    def _found(self, acts: Field, layer: Layer, seed: int, random: bool) -> Dictionary | None:
        """What an earlier run left, if it is what this one would make."""
        sae = kept.opened(self._folder(layer, seed, random) / "dictionary", Dictionary.load)
        return sae if sae is not None and sae.about.get("recipe") == self._recipe(acts, seed) else None

    def _recipe(self, acts: Field, seed: int) -> str:
        """What a dictionary depends on."""
        apart = ("seeds", "path", "options")
        sizes = {k: v for k, v in dataclasses.asdict(self.run.dictionary).items() if k not in apart}
        if self.brought is not None:
            sizes |= {"of": self.brought.content(), "options": self.brought.options}
        return store.digest([sizes, seed, acts.about, acts.rows.id])

    def codes(self, acts: Field, sae: Dictionary, layer: Layer, seed: int, random: bool = False) -> Field:
        """The stored codes of all rows."""
        folder = self._folder(layer, seed, random)
        held = self.sole(f"codes {folder.relative_to(self.out)}")
        with self._timed(f"codes {folder.parent.parent.name} layer {layer}"), held:
            return sae.encode(acts, out=folder / "codes")

    def _folder(self, layer: Layer, seed: int, random: bool) -> Path:
        spec = self.run.dictionary
        named = "brought" if self.brought is not None and not random else spec.kind
        named = f"{named}-{spec.width}-k{spec.k}" + ("-random-weights" if random else "")
        return self.out / "dictionaries" / named / f"layer={layer}" / f"seed={seed}"

    def check_splits(self) -> None:
        """Raise when a split would be empty: found here, and not after the model has run."""
        present = set(self.source.items["split"])
        for name in SPLITS:
            if name not in present:
                raise InputError(
                    f"no block ({self.source.blocks_told}) fell into the split {name!r}; give smaller ones "
                    "(source.blocks), or another seed"
                )
        for level, line in leakage.told(self.source, getattr(self.run.source, "duplicates", leakage.REFUSED)):
            if level == "problem":
                raise InputError(line)
            say(line)

    # ------------------------------------------------------------------ models and activations, when they are needed

    def _model(self, random: bool) -> Any:
        """The model, held until its last layer was read. Of a job, one that is loaded only when it has to run."""
        if random not in self._models:
            load = functools.partial(open_model, self.run, random)
            self._models[random] = self._remembered(random, load) if self.job else load()
        return self._models[random]

    def _loaded(self, random: bool) -> Any:
        """The model itself, for those who do more than run it."""
        model = self._model(random)
        return model.whole() if isinstance(model, Remembered) else model

    def _remembered(self, random: bool, load: Callable[[], Any]) -> Any:
        """What a job knows of the model: told anew by those that look at it first, or run it."""
        spec = self.run.model
        place = self.out / marks.FOLDER / f"model{'-random-weights' if random else ''}.json"
        about = [dataclasses.asdict(spec), content(spec.weights), random]
        return Remembered.of(place, spec.name, about, self.layers(random), load, fresh=self.fresh)

    def _groups(self, random: bool) -> list[list[Layer]]:
        """The layers that lie on disk together."""
        model, disk = self._model(random), self.run.disk
        itemsize = 4 if (self.run.dtype or model.dtype) == "float32" else 2
        layers = self.layers(random)
        if self.job:  # of which each waits for what it needs, and none drops it
            return [layers]
        rows = {layer: len(self.rows(layer)) for layer in layers}
        size: dict[Layer, int] = {layer: rows[layer] * model.width(layer) * itemsize for layer in layers}
        room = room_for_activations(None if disk is None else float(disk), max(rows.values()), self.run.dictionary.k)
        return groups(layers, size, room)

    def _fields(self, group: list[Layer], random: bool) -> dict[Layer, Field]:
        """Activations of a group that are computed when one of them is first read."""
        model = self._model(random)

        fields: dict[Layer, Field] = {}
        for layer in group:
            rows = self.rows(layer)
            deferred = Deferred((len(rows), model.width(layer)), functools.partial(self._ran, group, random, layer))
            columns = model.outputs if layer == "output" and len(model.outputs) == model.width(layer) else None
            fields[layer] = Field(
                rows.rows, deferred, columns, "activation", about_layer(model, layer, self.source, self.run.dtype)
            )
        return fields

    def _ran(self, group: list[Layer], random: bool, layer: Layer) -> Values:
        """The stored activations of a layer; the whole group is run when they are not there."""
        if (random, layer) not in self._open:
            for one, field in self.activate(random, group).items():
                if field.rows.id != self.rows(one).rows.id:
                    where = self.out / "rows"
                    raise AlignmentError(f"{where} are not the rows of the activations; delete it and run again")
                self._open[random, one] = field.data
        return self._open[random, layer]

    def _drop(self, group: list[Layer], random: bool) -> None:
        """Give back the disk of a group's activations, when disk is short."""
        for layer in group:
            self._open.pop((random, layer), None)  # files that are still mapped would keep their place on disk
            if self.run.disk is not None and not self.job:
                store.discard(self.out / self.folder(random) / f"layer={layer}")

    # ------------------------------------------------------------------ keeping what is done

    def _stored_field(self, folder: Path, recipe: Any, make: Callable[[], Field]) -> Field:
        found = kept.opened(folder, Field.open)
        if found is not None and found.about.get("recipe") == store.digest(recipe):
            return found
        store.discard(folder)
        made = make()
        made.about["recipe"] = store.digest(recipe)
        return made.save(folder)

    def _stored_tables(self, folder: Path, recipe: Any, make: Callable[[], Frames]) -> Frames:
        mark = store.digest(recipe)
        found = kept.opened(folder, store.read)
        if found is not None and found.meta.get("recipe") == mark:
            return {name: found.table(name) for name in found.tables}
        made = make()
        store.write(folder, tables=made, meta={"recipe": mark})
        return made

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Seconds of a stage, without those of stages that ran inside it."""
        begun = time.perf_counter()
        self._inner.append(0.0)
        yield
        took = time.perf_counter() - begun
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + took - self._inner.pop(), 2)
        self._inner[-1] += took
