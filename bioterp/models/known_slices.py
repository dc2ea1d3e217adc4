"""Vision transformers of single images as data, run slice by slice on scans; see `known_scans.py`.

For a model of photographs or radiographs, PLS and the percentiles are this project's choice: it was shown no scans.
"""

from __future__ import annotations

from typing import Any

from bioterp.models.known_scans import TINY, row

PLS = {"orientation": "PLS"}
PHOTO = {**PLS, "intensity": {"percentile": [0.5, 99.5]}}
CT_WINDOWS = {**PLS, "intensity": {"windows": [[-1024, 1024], [-135, 215], [0, 80]]}}
SLICED = "any slice of whole patches"
GOOGLE = "Health AI Developer Foundations terms (gated)"


def _tower(name: str, title: str, layers: int, width: int, patch: int, licence: str, **more: Any) -> dict[str, Any]:
    told = {"wants": PHOTO, "layer": f"{layers * 3 // 4} (about three quarters up; not verified)", **more}
    context, cell = told.pop("context", SLICED), f"{patch} × {patch} × 1 voxels of a slice"
    return row(name, title, "vision", layers, width, context, cell, licence, "hub", TINY, **told)


SLICES: tuple[dict[str, Any], ...] = (
    _tower(
        "google/medgemma-1.5-4b-it",
        "MedGemma 1.5 (SigLIP tower of Gemma 3)",
        27,
        1152,
        14,
        GOOGLE,
        wants=CT_WINDOWS,
        context="896 × 896 voxels a slice; up to 85 slices a scan in its notebook",
        source="windows from its notebook high_dimensional_ct as two repositories copy it (red wide, green soft "
        "tissue, blue brain); 896 from the card of MedGemma 1; slices are resized to 896: spacing = field of view / "
        "896, slices sampled evenly; MRI is shown min–max (not verified)",
    ),
    _tower(
        "google/medsiglip-448",
        "MedSigLIP (SigLIP So400m)",
        27,
        1152,
        14,
        GOOGLE,
        wants=CT_WINDOWS,
        context="448 × 448 voxels a slice",
        source="README of Google-Health/medsiglip; its CT windows are taken to be MedGemma's (not verified)",
    ),
    _tower(
        "microsoft/rad-dino",
        "RAD-DINO (ViT-B, chest X-rays)",
        12,
        768,
        14,
        "MIT",
        context="518 × 518 pixels",
        source="model card; trained on radiographs, not on slices; mean and sd of pixels from its "
        "preprocessor_config.json; licence MIT since 2025 (MSRLA before); layers and width are those of dinov2-base",
    ),
    _tower(
        "facebook/dinov2-base",
        "DINOv2 (ViT-B, photographs)",
        12,
        768,
        14,
        "Apache-2.0",
        source="configuration of dinov2-base; not trained on scans, a baseline",
    ),
    _tower(
        "facebook/dinov2-with-registers-base",
        "DINOv2 with registers",
        12,
        768,
        14,
        "Apache-2.0",
        source="configuration; four register tokens, without cells; not trained on scans",
    ),
    _tower(
        "facebook/dinov3-vitb16-pretrain-lvd1689m",
        "DINOv3 (ViT-B, photographs)",
        12,
        768,
        16,
        "DINOv3 licence (gated)",
        source="configuration; four register tokens, without cells; not trained on scans",
    ),
)
