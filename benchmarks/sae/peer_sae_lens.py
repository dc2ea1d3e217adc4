"""sae-lens as it is measured, with its default and with its other ways to normalise."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import torch
from form import NESTED, Peer
from shared import Size

os.environ.setdefault("WANDB_MODE", "disabled")


class SaeLens(Peer):
    """sae-lens 6.54.12: SAETrainer.step on the three training classes; deployed through save_inference_model and load.

    normalise: one of the library's `normalize_activations` ('none' is its default), estimated on 200 batches.
    """

    name = "sae-lens"
    normalise = "none"

    @staticmethod
    def default_lr(size: Size) -> float:
        return 3e-4

    def __init__(self, size: Size, kind: str, *, steps: int, batch: int, lr: float, seed: int, rows: np.ndarray):
        import sae_lens as sl
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        torch.manual_seed(seed)
        told: dict[str, Any] = {"d_in": size.d, "d_sae": size.width, "k": size.k}
        told["normalize_activations"] = self.normalise
        if kind == "topk":
            self.sae: Any = sl.TopKTrainingSAE(sl.TopKTrainingSAEConfig(**told))
        elif kind == "batchtopk":
            self.sae = sl.BatchTopKTrainingSAE(sl.BatchTopKTrainingSAEConfig(**told))
        else:
            widths = [int(f * size.width) for f in NESTED]
            made = sl.MatryoshkaBatchTopKTrainingSAEConfig(matryoshka_widths=widths, **told)
            self.sae = sl.MatryoshkaBatchTopKTrainingSAE(made)
        config = SAETrainerConfig(total_training_samples=steps * batch, train_batch_size_samples=batch, lr=lr)
        config.lr_end = lr / 10  # what its runner's configuration sets; used by other schedules than the default
        self.trainer = SAETrainer(cfg=config, sae=self.sae, data_provider=iter(()))
        picked = np.random.default_rng([seed, 1]).integers(0, len(rows), (200, min(batch, 1_024)))
        stream = (torch.from_numpy(rows[one]) for one in picked)
        scaler = self.trainer.activation_scaler
        if self.normalise == "expected_average_only_in":
            scaler.estimate_scaling_factor(d_in=size.d, data_provider=stream, n_batches_for_norm_estimate=200)
        elif self.normalise == "covariance_whitening":
            scaler.estimate_whitening(d_in=size.d, data_provider=stream, n_batches_for_norm_estimate=200)

    def step(self, x: torch.Tensor) -> None:
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    def finish(self) -> None:
        from sae_lens import SAE

        scaler = self.trainer.activation_scaler
        if scaler.scaling_factor is not None:  # what SAETrainer.fit does at its end
            self.sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if scaler.whitening is not None:
            white = scaler.whitening
            self.sae.fold_activation_whitening(
                mean=white.mean, whitening_matrix=white.matrix, unwhitening_matrix=white.inverse_matrix
            )
        with tempfile.TemporaryDirectory() as folder:
            self.sae.save_inference_model(folder)
            self.deployed = SAE.load_from_disk(folder)

    def encode(self, x: torch.Tensor) -> Any:
        return self.deployed.encode(x)

    def decode(self, codes: Any) -> Any:
        return self.deployed.decode(codes)

    def decoder(self) -> np.ndarray:
        return self.deployed.W_dec.detach().numpy()

    def level(self, threshold: float) -> None:
        self.deployed.threshold.data.fill_(threshold)


class SaeLensScaled(SaeLens):
    name = "sae-lens, scaled"
    normalise = "expected_average_only_in"


class SaeLensWhitened(SaeLens):
    name = "sae-lens, whitened"
    normalise = "covariance_whitening"
