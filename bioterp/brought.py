"""Dictionaries a run brings along: of bioterp or of another tool, analysed where others would be fitted.

Whether one is a dictionary of these activations at all is looked at first (`checkpoints/inspecting.py`), on rows of the
split 'valid'; what is wrong is warned of, loudly, and stands in the tables and the report from then on.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from bioterp.checkpoints import calibrate, inspect, load_dictionary
from bioterp.checkpoints.inspecting import transcodes
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError, StoreError
from bioterp.field import Field
from bioterp.opening import content
from bioterp.planning import Layer
from bioterp.records import Run


class Brought:
    """What `dictionary.path` of a run file names: one file, or one for each layer."""

    def __init__(self, run: Run):
        spec = run.dictionary
        assert spec.path is not None
        self.run, self.options = run, spec.options
        if isinstance(spec.path, Path) and len(run.layers) > 1:
            raise InputError(
                f"dictionary.path is one file and layers names {len(run.layers)}; give a file for each, "
                "path: {2: …, 4: …}, or one layer"
            )
        paths = spec.path if isinstance(spec.path, dict) else {str(run.layers[0]): spec.path}
        if set(paths) != set(map(str, run.layers)):
            raise InputError(
                f"dictionary.path names the layers {', '.join(paths)}; layers: {', '.join(map(str, run.layers))}"
            )
        self.paths: dict[Layer, Path] = {layer: paths[str(layer)] for layer in run.layers}
        for path in self.paths.values():
            if not path.exists():
                raise InputError(f"dictionary.path: there is no file or folder {path}")
        self.read = functools.cache(self._read)
        self.content = functools.cache(lambda: [content(path) for path in self.paths.values()])

    def settled(self) -> Run:
        """The run with the width and k of its dictionaries: baselines take the same."""
        every = [self.read(layer) for layer in self.paths]
        widths = sorted({one.width for one in every})
        if len(widths) > 1:
            raise InputError(f"dictionary.path: widths of {widths} in one run; give each its own run file")
        told = {int(k) for k in (one.k or one.about.get("k") for one in every) if k}
        k = max(told, default=self.run.dictionary.k)
        if not k:
            raise InputError(
                "dictionary.path: it does not say how many features a row has; give dictionary.k, for the baselines"
            )
        if not k < widths[0]:
            raise InputError(f"dictionary.k must lie between 1 and width − 1; got k {k}, width {widths[0]}")
        rowwise = all(one.activation == "topk" for one in every)
        spec = dataclasses.replace(
            self.run.dictionary, width=widths[0], k=k, kind="topk" if rowwise else "batchtopk", seeds=[0]
        )
        return dataclasses.replace(self.run, dictionary=spec)

    def check(self, layer: Layer, width: int) -> Dictionary:
        """The dictionary of a layer of so many channels, or AlignmentError; InputError for a transcoder."""
        made = self.read(layer)
        if transcodes(made):
            raise InputError(
                f"dictionary.path: {self.paths[layer].name} writes something else than it reads; a transcoder is "
                "analysed from Python, with both its layers"
            )
        if made.inputs != width:
            raise AlignmentError(
                f"dictionary.path: {self.paths[layer].name} reads {made.inputs} channels; layer {layer} has {width}"
            )
        return made

    def of(self, acts: Field, layer: Layer) -> Dictionary:
        """The dictionary, ready to encode: calibrated where it holds no threshold, and looked at."""
        sae = self.check(layer, acts.shape[1])
        if sae.activation == "batchtopk":
            sae = calibrate(sae, acts.split("train"), self.run.dictionary.k or None)
        seen = inspect(sae, acts.split("valid")).iloc[0]
        about = {**sae.about, **acts.about, "seed": 0, "width": sae.width, "file": self.paths[layer].name}
        about["k"] = sae.k or sae.about.get("k") or self.run.dictionary.k
        told = [
            f"the file says {name} {about[f'{name}_in_file']}"
            for name in ("model", "layer")
            if f"{name}_in_file" in about
        ]
        about["warning"] = "; ".join([seen["warning"], *told]) if seen["warning"] else ""
        return dataclasses.replace(sae, about=about)

    def _read(self, layer: Layer) -> Dictionary:
        """The dictionary of a layer; the run's word for model and layer stands before the file's, which is kept."""
        path, options = self.paths[layer], dict(self.options)
        if not (path / "meta.json").is_file():  # one of bioterp says all of itself
            options |= {"model": self.run.model.name, "layer": str(layer), "k": self.run.dictionary.k or None}
        try:
            return load_dictionary(path, **options)
        except (InputError, StoreError) as error:
            raise InputError(f"dictionary.path: {error}") from error
