"""Kernels of people: outcomes, features and who the sample is. Arrays in, arrays out; names are put on in the analyses.

One pass over the matrix of features serves every question. An outcome is explained without features first, on all
people, on each group, without each group, without each fold (`nulls`): each such fit is a few columns, and what a
feature adds to it is told by sums of those columns times the feature, and of its square (`sums`). Sums add over
batches of people, so the matrix is read once and never held.
"""
