"""Modality → (item, array, Grid). An adapter knows files and no model."""
