"""The known models of scans as data: what each was trained on, and what was checked here.

`wants` are keywords for `Scans`. `source` says where facts are from; what could not be read in a source is called 'not
verified' there, and is left out of `wants` unless said. `run_here` is about trained weights: a tiny random network of
the same architecture is not the model.
"""

from __future__ import annotations

from typing import Any

TINY = "weights not run here (no network); architecture tested with random weights, tiny"
UNTESTED = "not run here: neither weights nor package could be fetched"
CONFORMED = {"orientation": "LIA", "spacing": [1.0, 1.0, 1.0], "shape": [256, 256, 256]}
MESHNET = "MIT (weights: neuroneural/brainchop)"
CHOP = "path to brainchop's folder"


def row(
    name: str,
    title: str,
    loader: str,
    layers: int,
    width: int,
    context: str,
    cell: str,
    licence: str,
    weights: str,
    run_here: str,
    **more: Any,
) -> dict[str, Any]:
    facts = {"layers": layers, "width": width, "context": context, "tokeniser": cell, "licence": licence}
    place = {"modality": "volume", "loader": loader, "weights": weights, "run_here": run_here}
    return {"name": name, "title": title, **facts, **place, **more}


def _meshnet(name: str, title: str, width: int, intensity: Any, run: str, said: str) -> dict[str, Any]:
    return row(
        f"meshnet/{name}",
        title,
        "meshnet",
        9,
        width,
        "any shape; trained on 256³",
        "1 voxel",
        MESHNET,
        CHOP,
        run,
        wants={**CONFORMED, "intensity": intensity},
        layer="8 (the last before the classes)",
        source=f"model.json and colormap.json of github.com/neuroneural/brainchop; {said}",
    )


SCANS: tuple[dict[str, Any], ...] = (
    row(
        "bioterp/scan-small",
        "the reference scan model of this project (SegResEncoder, masked T1)",
        "monai",
        7,
        64,
        "any shape of multiples of 8",
        "1, 2, 4 or 8 voxels a side, by level",
        "BSD-3-Clause",
        "shipped",
        "trained and run here",
        wants={"orientation": "RAS", "spacing": [1, 1, 1], "intensity": "zscore", "multiple": 8},
        layer="4 (cells of 4 voxels)",
        source="training/scan_small/config.json",
    ),
    _meshnet(
        "model5_gw_ae",
        "MeshNet, grey and white matter",
        5,
        "minmax",
        "run here on a real scan (MNI152)",
        "orientation from the project's conform step",
    ),
    _meshnet(
        "model20chan3cls",
        "MeshNet, grey and white matter",
        20,
        {"percentile": [5, 95]},
        "loaded here from TensorFlow.js; run on a crop of a real scan",
        "quantiles 5–95 % from its model.json; brainchop does not clip",
    ),
    _meshnet(
        "model18cls",
        "MeshNet, 17 subcortical regions",
        21,
        "minmax",
        "loaded here from both forms, bit-equal; run on a crop of a real scan",
        "min–max not verified for this model",
    ),
    _meshnet(
        "model30chan18cls",
        "MeshNet, 17 subcortical regions",
        30,
        "minmax",
        "loaded here from TensorFlow.js; run on a crop of a real scan",
        "min–max not verified for this model",
    ),
    row(
        "bioterp.models.hippodeep:head",
        "hippodeep's brain network (3-D U-Net, T1)",
        "factory",
        7,
        32,
        "64 × 64 × 64 voxels, whatever the field of view",
        "1, 2, 4 or 8 voxels a side, by level",
        "MIT",
        "path to params_head_00075_00000.pt of bthyreau/hippodeep_pytorch",
        "run here on its own example scan (1.44 L of brain, as its own program finds)",
        wants={"orientation": "LAS", "intensity": {"zscore": "all"}, "shape": [64, 64, 64]},
        layer="2 (cells of 4 voxels)",
        source="README and hippodeep.py of github.com/bthyreau/hippodeep_pytorch; scans are resized to 64³: spacing = "
        "field of view / 64; give blocks= and wants= of bioterp.models.hippodeep, and multiple=8",
    ),
    row(
        "project-lighter/ct_fm_feature_extractor",
        "CT-FM (SegResEncoder, 148,000 CT)",
        "monai",
        5,
        512,
        "any shape of multiples of 16",
        "1 to 16 voxels a side, by level",
        "Apache-2.0",
        "hub",
        TINY,
        wants={
            "orientation": "SPL",
            "spacing": [3, 1, 1],
            "intensity": {"window": [-1024, 2048], "to": [0, 1]},
            "multiple": 16,
        },
        layer="-1 (the embedding's, before its mean); 2 or 3 for small things",
        source="model card and config.json on the hub; the card resamples nothing, its authors' scripts do so to 3 × 1 "
        "× 1 mm (S, P, L), 1 mm or 3 mm; spacing of pretraining not verified",
    ),
    row(
        "monai:SwinUNETR",
        "Swin UNETR, 13 abdominal organs (BTCV bundle)",
        "monai",
        14,
        192,
        "any shape of multiples of 32; trained on 96³",
        "2 to 32 voxels a side, by stage",
        "Apache-2.0 (bundle)",
        "path to the bundle's model.pt",
        TINY,
        wants={
            "orientation": "RAS",
            "spacing": [1.5, 1.5, 2.0],
            "intensity": {"window": [-175, 250]},
            "multiple": 32,
        },
        layer="5 (third stage, cells of 8 voxels; not verified)",
        arguments={"in_channels": 1, "out_channels": 14, "feature_size": 48},
        source="network_def of swin_unetr_btcv_segmentation/configs/inference.json; orientation, spacing and window "
        "as its tutorials give them, not verified in the bundle; give its folder to load_model where you have it",
    ),
    row(
        "monai:SwinTransformer",
        "Swin UNETR's encoder, self-supervised (5,050 CT)",
        "monai",
        8,
        192,
        "any shape of multiples of 32; trained on 96³",
        "2 to 32 voxels a side, by stage",
        "Apache-2.0 (repository of the weights)",
        "path to model_swinvit.pt",
        TINY,
        wants={
            "orientation": "RAS",
            "spacing": [1.5, 1.5, 2.0],
            "intensity": {"window": [-175, 250]},
            "multiple": 32,
        },
        layer="5 (third stage; not verified)",
        arguments={
            "in_chans": 1,
            "embed_dim": 48,
            "window_size": [7, 7, 7],
            "patch_size": [2, 2, 2],
            "depths": [2, 2, 2, 2],
            "num_heads": [3, 6, 12, 24],
        },
        source="Project-MONAI/research-contributions; spacing and window are those of fine-tuning; of "
        "pretraining not verified; heads of its pretraining go into ignore=",
    ),
    row(
        "monai:ViT",
        "BrainIAC (ViT-B, structural brain MRI)",
        "monai",
        12,
        768,
        "96 × 96 × 96 voxels only",
        "16 × 16 × 16 voxels",
        "non-commercial academic (Mass General Brigham)",
        "path to backbone.safetensors",
        TINY,
        wants={"intensity": "zscore", "shape": [96, 96, 96]},
        layer="-1: the mean of its tokens; what it returns is its first token, a corner patch (it has no class token)",
        arguments={
            "in_channels": 1,
            "img_size": [96, 96, 96],
            "patch_size": [16, 16, 16],
            "hidden_size": 768,
            "mlp_dim": 3072,
            "num_layers": 12,
            "num_heads": 12,
        },
        source="src/model.py of a copy of its repository; its scans are registered to an atlas, skull-stripped and "
        "resized to 96³; orientation, spacing and z-score over nonzero voxels not verified",
    ),
    row(
        "dinov2.models.vision_transformer:vit_large_3d",
        "3DINO-ViT (ViT-L, 100,000 CT and MRI)",
        "factory",
        24,
        1024,
        "112 × 112 × 112 voxels (96³ before its high-resolution stage)",
        "16 × 16 × 16 voxels",
        "CC BY-NC-ND 4.0",
        "path to 3dino_vit_weights.pth, converted",
        UNTESTED,
        wants={"intensity": {"percentile": [0.05, 99.95]}, "shape": [112, 112, 112]},
        layer="17 (not verified)",
        source="README of AICONSlab/3DINO; its notebook scales these percentiles to −1–1, which no recipe does yet; "
        "resized, not resampled; the factory's name, orientation and spacing not verified",
    ),
    row(
        "merlin:Merlin",
        "Merlin (I3D ResNet-152, abdominal CT and reports)",
        "factory",
        4,
        1024,
        "224 × 224 × 160 voxels",
        "by stage of an inflated ResNet-152 (not verified)",
        "MIT",
        "fetched by its package merlin-vlm",
        UNTESTED,
        wants={
            "orientation": "RAS",
            "spacing": [1.5, 1.5, 3.0],
            "intensity": {"window": [-1000, 1000], "to": [0, 1]},
            "shape": [224, 224, 160],
        },
        layer="the third stage (layer3), before the pooling (not verified)",
        arguments={"ImageEmbedding": True},
        source="its preprocessing as several repositories copy it; hub louisblankemeier/Merlin; inside, axes may be "
        "turned to z, x, y: wrap it in a factory that turns them back, or the probe refuses it",
    ),
    row(
        "transformer_maskgit:CTViT",
        "CT-CLIP's CT-ViT (chest CT and reports)",
        "factory",
        8,
        512,
        "480 × 480 × 240 voxels, z first",
        "20 × 20 × 10 voxels (z 10)",
        "CC BY-NC-SA 4.0 (CT-RATE)",
        "path to the CT-CLIP checkpoint's visual part",
        UNTESTED,
        wants={
            "spacing": [1.5, 0.75, 0.75],
            "intensity": {"window": [-1000, 1000], "to": [-1, 1]},
            "shape": [240, 480, 480],
        },
        layer="the output of its temporal encoder (not verified)",
        arguments={
            "dim": 512,
            "codebook_size": 8192,
            "image_size": 480,
            "patch_size": 20,
            "temporal_patch_size": 10,
            "spatial_depth": 4,
            "temporal_depth": 4,
            "dim_head": 32,
            "heads": 8,
        },
        source="scripts/run_zero_shot.py and data_inference_nii.py of ibrahimethemhamamci/CT-CLIP; arrays are turned "
        "to z, x, y as stored, so orientation is not verified; attention over space, then over z, so that most layers "
        "inside have no lattice of the whole and are refused",
    ),
)
