"""Declared columns of the tables: type, unit and meaning. `tables` reads, writes and checks by them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: dtype is float64, int32, bool or string."""

    name: str
    dtype: str
    unit: str
    meaning: str


def _columns(*lines: tuple[str, str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*line) for line in lines)


SUBJECT = _columns(
    ("dictionary", "string", "", "name of the dictionary whose features these are"),
    ("seed", "int32", "", "seed the dictionary was fitted with; -1 where there is none"),
    (
        "representation",
        "string",
        "",
        "what a feature is: dictionary, neurons, pca, random-directions, random-weights, composition, position, "
        "intensity, model (of people: what they are described by)",
    ),
)
LAYER = _columns(("layer", "string", "", "layer of the model the activations were read from"))
FEATURE = _columns(("feature", "int32", "", "0-based column of the codes; -1 where no feature is meant"))
TERM = _columns(("term", "string", "", "column of the labels"))
NOTE = _columns(("note", "string", "", "why numbers of this row are null or to be read with care"))

DETECTION = _columns(
    (
        "threshold",
        "float64",
        "raw code units",
        "a cell is active when its code is greater than this; cross-fitted: the median over the folds that chose it",
    ),
    ("n_cells", "int32", "cells", "positive cells of the term in the scored part"),
    ("n_instances", "int32", "instances", "instances of the term in the scored part"),
    ("prevalence", "float64", "fraction", "positive share of the known cells of the scored part"),
    ("precision", "float64", "fraction", "positive share of the active known cells of the scored part"),
    ("recall", "float64", "fraction", "active share of the positive cells of the scored part"),
    ("f1", "float64", "fraction", "harmonic mean of precision and recall"),
    (
        "f1_null",
        "float64",
        "fraction",
        "mean F1 over all circular shifts, or permutations of subjects (cross-fitted: of each fold within itself)",
    ),
    (
        "f1_normalised",
        "float64",
        "fraction",
        "(f1 − f1_null) / (1 − f1_null): 0 at chance, 1 when every active cell is positive and every positive active",
    ),
    ("f1_lo", "float64", "fraction", "lower end of the 95 % delete-one-block jackknife interval"),
    ("f1_hi", "float64", "fraction", "upper end of that interval"),
    (
        "f1_select",
        "float64",
        "fraction",
        "F1 on train and valid, where the pair and threshold were chosen (cross-fitted: mean over folds)",
    ),
    ("f1_select_null", "float64", "fraction", "chance level of f1_select; pairs are ranked by f1_select above it"),
    ("instance_recall", "float64", "fraction", "instances with at least one active cell"),
    (
        "instance_recall_null",
        "float64",
        "fraction",
        "mean instance recall over evenly spaced circular shifts, or permutations",
    ),
    ("instance_f1", "float64", "fraction", "harmonic mean of precision and instance recall (InterPLM's domain F1)"),
    ("auroc", "float64", "fraction", "area under the ROC curve over the code's bins, ties counted half"),
    ("ap", "float64", "fraction", "average precision over the code's bins; its chance level is prevalence"),
    (
        "mutual_information",
        "float64",
        "bits",
        "what the bin of a cell's code tells of its label; of cells in runs more than 0 by chance alone",
    ),
    (
        "contrast",
        "float64",
        "raw code units",
        "mean code of the positive cells less that of the negative ones, each code taken as the mean of its bin",
    ),
    (
        "z",
        "float64",
        "sd",
        "(F1 − its mean under the null) / its standard deviation under the null; null when cross-fitted",
    ),
    (
        "p",
        "float64",
        "",
        "share of all circular shifts, or of permutations of subjects, identity included, with F1 at least as large "
        "(cross-fitted: of folds, combined)",
    ),
    ("q", "float64", "", "Benjamini–Hochberg over the selected pairs"),
    ("q_by", "float64", "", "Benjamini–Yekutieli over the selected pairs"),
    (
        "f1_local",
        "float64",
        "fraction",
        "F1 by chance when each block is turned by itself: what regions alone explain; of the best pair of each term",
    ),
    (
        "p_local",
        "float64",
        "",
        "share of 10,000 draws of shifts within blocks, identity included, with F1 at least as large; of the best pair "
        "of each term (cross-fitted: of folds, combined)",
    ),
    ("q_local", "float64", "", "Benjamini–Hochberg of p_local over the terms"),
    ("n_tests", "int32", "pairs", "selected pairs that q and q_by correct for"),
    ("n_shifts", "int32", "shifts", "circular shifts of the null, or permutations; p cannot be below 1 / n_shifts"),
    ("n_blocks", "int32", "blocks", "blocks of the scored part behind the interval"),
    (
        "split",
        "string",
        "",
        "the part the numbers come from: test, or cross-fitted (all blocks, each scored by a choice made without it)",
    ),
)
SCREEN = _columns(
    (
        "threshold",
        "float64",
        "raw code units",
        "a cell is active when its code is greater than this; the one that serves the feature's best term on train "
        "and valid",
    ),
    ("n_active", "int32", "cells", "active cells of test"),
    ("n_cells", "int32", "cells", "positive cells of the term in test"),
    ("overlap", "int32", "cells", "active cells of test that are positive"),
    ("overlap_null", "float64", "cells", "its mean over all circular shifts"),
    ("overlap_sd", "float64", "cells", "its standard deviation over all circular shifts"),
    ("z", "float64", "sd", "(overlap − overlap_null) / overlap_sd"),
    ("p_normal", "float64", "", "normal upper tail of z; to screen by, not to report: the tail is too light"),
    ("q_normal", "float64", "", "Benjamini–Hochberg over p_normal of all pairs"),
    ("n_pairs", "int32", "pairs", "pairs of a feature and a term that q_normal corrects for"),
    ("n_shifts", "int32", "shifts", "circular shifts"),
)
CORRELATION = _columns(
    ("n", "int32", "cells", "cells of test where the signal is known"),
    ("n_active", "int32", "cells", "those of them where the feature is active"),
    ("pearson", "float64", "", "Pearson correlation of code and signal, silent cells as zeros"),
    ("pearson_lo", "float64", "", "lower end of its 95 % delete-one-block jackknife interval"),
    ("pearson_hi", "float64", "", "upper end of that interval"),
    ("pearson_select", "float64", "", "Pearson correlation on train and valid, where the feature was chosen"),
    ("pearson_null", "float64", "", "mean Pearson correlation over all circular shifts"),
    ("spearman", "float64", "", "rank correlation, ties with their mean rank"),
    ("z", "float64", "sd", "(pearson − pearson_null) / the standard deviation over the shifts"),
    ("p", "float64", "", "share of all circular shifts, identity included, with as large a magnitude of pearson"),
    ("q", "float64", "", "Benjamini–Hochberg over the rows"),
    ("q_by", "float64", "", "Benjamini–Yekutieli over the rows"),
    ("n_tests", "int32", "pairs", "rows that q and q_by correct for"),
    ("n_shifts", "int32", "shifts", "circular shifts; p cannot be below 1 / n_shifts"),
    ("n_blocks", "int32", "blocks", "blocks of test behind the interval"),
    ("split", "string", "", "the part the numbers come from"),
)
ENRICHMENT = _columns(
    ("log2_odds", "float64", "log2", "log2 odds ratio of active and positive, each count + 0.5"),
    ("se", "float64", "log2", "its delete-one-block jackknife standard error"),
    ("lo", "float64", "log2", "lower end of the 95 % interval"),
    ("hi", "float64", "log2", "upper end of the 95 % interval"),
)
ADJUSTED = _columns(
    ("covariates", "string", "", "what was adjusted for, joined by ' + '"),
    (
        "main",
        "bool",
        "",
        "the row to quote: adjusted for every covariate that does not itself tell the term; other rows: each alone",
    ),
    ("n_strata", "int32", "strata", "combinations of covariate levels (quantiles of train rows) among the test cells"),
    ("n_cells", "int32", "cells", "positive test cells whose covariates are known"),
    ("prevalence", "float64", "fraction", "their share of the test cells whose label and covariates are known"),
    ("informative", "float64", "fraction", "positive cells in strata that hold negatives too: only these can tell"),
    ("log2_odds_crude", "float64", "log2", "log2 odds ratio of active and positive without strata, on the same cells"),
    ("crude_lo", "float64", "log2", "lower end of its 95 % delete-one-block jackknife interval"),
    ("crude_hi", "float64", "log2", "upper end of that interval"),
    ("log2_odds", "float64", "log2", "log2 of the Mantel–Haenszel common odds ratio over strata"),
    ("se", "float64", "log2", "its delete-one-block jackknife standard error"),
    ("lo", "float64", "log2", "lower end of its 95 % interval"),
    ("hi", "float64", "log2", "upper end of that interval"),
    ("attenuation", "float64", "fraction", "1 − log2_odds / log2_odds_crude: how much of it the covariates take away"),
    ("f1_chance", "float64", "fraction", "F1 where the feature fires as often in each stratum, but anywhere in it"),
    ("f1_above", "float64", "fraction", "F1 less f1_chance"),
    ("f1_above_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("f1_above_hi", "float64", "fraction", "upper end of that interval"),
    ("auroc_crude", "float64", "fraction", "area under the ROC curve of the code, on the same cells, ties half"),
    ("auroc", "float64", "fraction", "the same over pairs of a positive and a negative within one stratum"),
    ("auroc_matched", "float64", "fraction", "the same against as many negatives drawn from the positives' strata"),
    ("n_matched", "int32", "cells", "positives of the matched set, each with a negative of its stratum and contig"),
    ("covariates_auroc", "float64", "fraction", "area of the covariates alone: the stratum's positive share on train"),
    ("covariates_ap", "float64", "fraction", "average precision of the same; its chance level is prevalence"),
    ("z", "float64", "sd", "f1_above over its jackknife standard error"),
    ("p", "float64", "", "two-sided, of z by Student's t with n_blocks − 1 degrees of freedom"),
    ("q", "float64", "", "Benjamini–Hochberg over the pairs, of main rows and of each covariate alone apart"),
    ("q_by", "float64", "", "Benjamini–Yekutieli over the same"),
    ("n_tests", "int32", "pairs", "pairs that q and q_by correct for"),
    ("n_blocks", "int32", "blocks", "test blocks behind the intervals"),
    (
        "verdict",
        "string",
        "",
        "holds (lo > 0), explained (the interval holds 0 and lies below log2_odds_crude), reversed (hi < 0), "
        "open (it holds both), determined (the covariates tell the term), none",
    ),
)
FEATURES = _columns(
    ("density", "float64", "fraction", "share of the cells with a non-zero code"),
    ("mean_active", "float64", "raw code units", "mean of the non-zero codes"),
    ("max", "float64", "raw code units", "largest code"),
    ("p999", "float64", "raw code units", "99.9th percentile of the non-zero codes (of a hashed sample if many)"),
    ("dead", "bool", "", "never active on these rows"),
    ("best_term", "string", "", "term detection found for it, by F1 above its null"),
    ("best_f1", "float64", "fraction", "F1 with that term on test, or cross-fitted"),
    ("best_q", "float64", "", "q of that pair"),
    ("best_f1_null", "float64", "fraction", "chance level of best_f1"),
    ("best_f1_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("best_f1_hi", "float64", "fraction", "upper end of that interval"),
    ("best_precision", "float64", "fraction", "positive share of its active cells, with that term"),
    ("best_recall", "float64", "fraction", "instances of that term with at least one active cell"),
    ("best_recall_null", "float64", "fraction", "chance level of best_recall"),
    ("n_terms", "int32", "terms", "terms it matches beyond chance: q ≤ 0.05 and F1 above its null"),
    ("enrichment", "float64", "log2", "log2 odds ratio of active and positive, with best_term"),
    ("enrichment_lo", "float64", "log2", "lower end of its 95 % interval"),
    ("enrichment_hi", "float64", "log2", "upper end of that interval"),
    (
        "adjusted",
        "string",
        "",
        "verdict on that pair with covariates held fixed, as in `adjusted`; null where not asked",
    ),
    ("adjusted_for", "string", "", "those covariates, joined by ' + '"),
    (
        "stability",
        "float64",
        "",
        "largest cosine of its decoder row to any of another seed's, mean over the other seeds; null with one seed",
    ),
    ("n_seeds", "int32", "seeds", "dictionaries of this layer, its own among them; 0 where that was not looked at"),
    ("n_same", "int32", "seeds", "of them that have a feature with cosine ≥ 0.7 to it, its own among them"),
    (
        "cluster",
        "int32",
        "",
        "smallest number of the features it is one with (decoder cosine ≥ 0.5 and Jaccard of active cells ≥ 0.3, "
        "chained); -1 of the dead and where that was not looked at",
    ),
    ("cluster_size", "int32", "features", "features of that cluster"),
    (
        "strand_share",
        "float64",
        "fraction",
        "of its active stretches of 64 bp, both strands counted, those active on both; null with one strand, or few",
    ),
    ("strand_chance", "float64", "fraction", "the same if strands were independent"),
    (
        "strand",
        "string",
        "",
        "(share − chance) / (1 − chance): both (≥ 0.5), one (≤ 0.1), mixed; null where few, or chance is above 0.5",
    ),
    (
        "unknown",
        "bool",
        "",
        "without a term, but strong (mean_active at or above the median), stable (≥ 0.7), neither rare nor dense "
        "(10⁻⁵, at least 50 cells, to 0.05), and on both strands alike or on one",
    ),
    ("says", "string", "", "all this as a sentence"),
)
READOUT = _columns(
    ("output", "string", "", "named output column of the model"),
    *[(c.name, c.dtype, c.unit, c.meaning) for c in TERM],
    ("n", "int32", "cells", "cells whose label is known"),
    ("n_cells", "int32", "cells", "positive cells"),
    ("prevalence", "float64", "fraction", "positive share of the known cells"),
    ("ap", "float64", "fraction", "average precision of the raw values; its chance level is prevalence"),
    ("ap_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("ap_hi", "float64", "fraction", "upper end of that interval"),
    ("auroc", "float64", "fraction", "area under the ROC curve of the raw values, ties counted half"),
    ("auroc_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("auroc_hi", "float64", "fraction", "upper end of that interval"),
    ("n_blocks", "int32", "blocks", "blocks behind the intervals"),
    ("split", "string", "", "the part the numbers come from"),
)
BLOCKS = _columns(
    ("block", "string", "", "block of the test rows (of all rows where the pair was cross-fitted)"),
    ("tp", "int32", "cells", "active positive cells"),
    ("fp", "int32", "cells", "active negative cells"),
    ("positives", "int32", "cells", "positive cells"),
    ("known", "int32", "cells", "cells whose label is known"),
    ("split", "string", "", "the part the counts come from: test, or cross-fitted"),
)
HEADLINE = _columns(
    ("f1", "float64", "fraction", "harmonic mean of precision and recall on the scored part"),
    ("f1_lo", "float64", "fraction", "lower end of its 95 % interval"),
    ("f1_hi", "float64", "fraction", "upper end of that interval"),
    ("above", "float64", "fraction", "F1 less its chance level 2·active·positives / known / (active + positives)"),
    ("above_lo", "float64", "fraction", "lower end of its 95 % interval"),
    ("above_hi", "float64", "fraction", "upper end of that interval"),
    ("precision", "float64", "fraction", "positive share of the active known cells"),
    ("precision_lo", "float64", "fraction", "lower end of its 95 % interval"),
    ("precision_hi", "float64", "fraction", "upper end of that interval"),
    ("recall", "float64", "fraction", "active share of the positive cells"),
    ("recall_lo", "float64", "fraction", "lower end of its 95 % interval"),
    ("recall_hi", "float64", "fraction", "upper end of that interval"),
    ("f1_local", "float64", "fraction", "F1 by chance when each block is turned by itself: what regions alone explain"),
    (
        "p_local",
        "float64",
        "",
        "share of the draws of shifts within blocks, identity included, with F1 at least as large (cross-fitted: of "
        "folds, combined)",
    ),
    ("q_local", "float64", "", "Benjamini–Hochberg of p_local over the terms"),
    ("n_draws", "int32", "draws", "draws of the null within blocks; p_local cannot be below 1 / n_draws"),
    ("n_blocks", "int32", "blocks", "blocks behind the intervals"),
    ("method", "string", "", "how the intervals were made; none where there are too few blocks"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted"),
)
LAYERS = _columns(
    ("n_seeds", "int32", "seeds", "dictionaries behind the means; 1 for a baseline"),
    ("n_instances", "int32", "instances", "instances of the term in the part that was scored"),
    ("f1", "float64", "fraction", "mean over seeds of the F1 of the layer's best feature, chosen on train and valid"),
    ("f1_null", "float64", "fraction", "mean over seeds of its chance level"),
    ("above", "float64", "fraction", "mean over seeds of F1 above chance"),
    ("above_min", "float64", "fraction", "smallest over seeds"),
    ("above_max", "float64", "fraction", "largest over seeds"),
    ("select", "float64", "fraction", "mean over seeds of F1 above chance where the feature was chosen"),
    ("best", "bool", "", "the layer with the largest `select` of this representation and term: chosen without test"),
    ("split", "string", "", "the part f1 and above come from: test, or cross-fitted"),
)
COMPARISON = _columns(
    (
        "above",
        "float64",
        "fraction",
        "F1 above chance, on the scored part, of the best feature for the term (chosen on train and valid)",
    ),
    ("baseline", "string", "", "representation it is compared with"),
    ("baseline_layer", "string", "", "layer of the baseline's best feature, chosen in the same way"),
    ("baseline_feature", "int32", "", "that feature"),
    ("baseline_above", "float64", "fraction", "its F1 above chance on the same rows"),
    ("difference", "float64", "fraction", "above − baseline_above"),
    ("lo", "float64", "fraction", "lower end of the 95 % paired delete-one-block jackknife interval of the difference"),
    ("hi", "float64", "fraction", "upper end of that interval"),
    ("n_blocks", "int32", "blocks", "blocks behind the interval"),
    ("n_instances", "int32", "instances", "instances of the term in the scored part"),
    ("result", "string", "", "win (lo > 0), loss (hi < 0), open (the interval holds 0), none (no interval)"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted"),
)
CANDIDATES = _columns(
    ("candidate", "string", "", "what tells the scans apart: a column of the sample sheet, or what was derived"),
    ("kind", "string", "", "categorical or numeric"),
    ("n_scans", "int32", "scans", "scans of which it is known"),
    ("n_levels", "int32", "", "different values"),
    ("levels", "string", "", "scans per level, those of few subjects as 'other'; of numbers the range and median"),
    ("n_features", "int32", "features", "features tested: active in some scan, and not alike in all"),
    ("n_associated", "int32", "features", "of them with q ≤ 0.05 (Benjamini–Hochberg within the candidate)"),
    ("top_feature", "int32", "", "the feature it explains most of; -1 where none was tested"),
    ("top_r2", "float64", "fraction", "variance of that feature's ranks that it explains, adjusted for the levels"),
    ("median_r2", "float64", "fraction", "median of the same over the features tested; near 0 without an association"),
)

DICTIONARIES = _columns(
    ("split", "string", "", "the part the numbers come from"),
    ("n", "int32", "rows", "rows of that part that were read: whole items, drawn by a fixed seed"),
    ("n_blocks", "int32", "blocks", "blocks (at most 256 groups of them) behind the interval of fvu"),
    ("width", "int32", "features", "features of the dictionary"),
    ("k", "float64", "features", "active features a row was to have; null where that is not known"),
    ("gamma", "float64", "", "length of the rows' mean / length of their standard deviation: how far off the origin"),
    ("fvu", "float64", "fraction", "variance left unexplained, about the mean of these rows; 1 is the mean itself"),
    ("fvu_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("fvu_hi", "float64", "fraction", "upper end of that interval"),
    ("l0", "float64", "features", "active features of a row, mean"),
    ("dead", "float64", "fraction", "features active on none of these rows"),
    ("cosine_median", "float64", "", "largest |cosine| of a feature's decoder row to another's: median over features"),
    ("cosine_p90", "float64", "", "90th percentile of the same"),
    ("cosine_p99", "float64", "", "99th percentile of the same"),
    ("cosine_max", "float64", "", "largest of the same"),
    ("cosine_random", "float64", "", "cosine_median of a dictionary of as many random directions"),
    ("near_duplicates", "int32", "pairs", "pairs of features whose decoder rows have |cosine| ≥ 0.9"),
    ("n_spliced", "int32", "cells", "cells of the model's output behind what follows; 0 where nothing was spliced in"),
    ("loss", "string", "", "what the model is judged by; null where there is no loss"),
    ("loss_clean", "float64", "bits", "loss per token of the model as it is"),
    ("loss_spliced", "float64", "bits", "the same with the reconstruction in place of the layer's activations"),
    ("loss_mean", "float64", "bits", "the same with the mean of the rows in their place"),
    ("loss_zero", "float64", "bits", "the same with zeros in their place"),
    ("recovered_mean", "float64", "fraction", "(loss_mean − loss_spliced) / (loss_mean − loss_clean)"),
    ("recovered_mean_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("recovered_mean_hi", "float64", "fraction", "upper end of that interval"),
    ("recovered_zero", "float64", "fraction", "(loss_zero − loss_spliced) / (loss_zero − loss_clean)"),
    ("recovered_zero_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("recovered_zero_hi", "float64", "fraction", "upper end of that interval"),
    ("kl", "float64", "bits", "KL(clean ‖ spliced) of the model's output distribution per token"),
    ("kl_mean", "float64", "bits", "the same for mean-ablation"),
    ("kl_zero", "float64", "bits", "the same for zero-ablation"),
    ("change", "float64", "fraction", "squared change of outputs that are no distribution / their variance"),
    ("change_mean", "float64", "fraction", "the same for mean-ablation"),
    ("change_zero", "float64", "fraction", "the same for zero-ablation"),
)
STABILITY = _columns(
    ("other_seed", "int32", "", "seed of the dictionary it is compared with"),
    ("n_features", "int32", "features", "width of the first"),
    ("other_features", "int32", "features", "width of the other"),
    ("greedy", "float64", "", "largest cosine of a decoder row to any of the other's: mean over features, both ways"),
    ("greedy_random", "float64", "", "the same of two random dictionaries of these sizes: where training begins"),
    ("assigned", "float64", "", "mean cosine of the best one-to-one matching; null above 4,096 features"),
    ("assigned_random", "float64", "", "the same of two random dictionaries of these sizes"),
    ("found_again", "float64", "fraction", "features whose match (one to one, else greedy) has a cosine ≥ 0.7"),
)
DENSITY = _columns(
    ("lo", "float64", "fraction", "features active on more than this share of the rows …"),
    ("hi", "float64", "fraction", "… and on at most this share; lo = hi = 0 are the dead ones"),
    ("n_features", "int32", "features", "how many there are"),
    ("n", "int32", "rows", "rows that were read"),
    ("split", "string", "", "the part they come from"),
)
REPLICATION = _columns(
    ("f1", "float64", "fraction", "F1 of this seed's best feature of the term, which has q ≤ 0.05"),
    ("f1_null", "float64", "fraction", "its chance level"),
    ("q", "float64", "", "q of that pair"),
    ("other_seed", "int32", "", "seed of the dictionary it is looked for in"),
    ("other_feature", "int32", "", "the other seed's best feature of the term, chosen in the same way"),
    ("other_f1", "float64", "fraction", "its F1"),
    ("other_f1_null", "float64", "fraction", "its chance level"),
    ("other_q", "float64", "", "its q"),
    ("found", "bool", "", "other_q ≤ 0.05 and other_f1 above chance: the other seed finds the term"),
    ("cosine", "float64", "", "cosine of the decoder rows of the two best features"),
    ("twin", "int32", "", "the other seed's feature that points most nearly the same way"),
    ("twin_cosine", "float64", "", "its cosine"),
    ("same", "bool", "", "twin_cosine ≥ 0.7: the other seed has the feature"),
)
DISCOVERIES = _columns(
    ("n_tested", "int32", "features", "features that were scored for the term"),
    ("n_discoveries", "int32", "features", "of them with q ≤ 0.05 and F1 above chance"),
    ("n_clusters", "int32", "clusters", "clusters these features are of: discoveries that say different things"),
    ("feature", "int32", "", "the best feature, chosen on train and valid; -1 where there is none"),
    ("f1", "float64", "fraction", "its F1"),
    ("f1_null", "float64", "fraction", "its chance level"),
    ("q", "float64", "", "its q"),
    ("n_instances", "int32", "instances", "instances of the term in the part that was scored"),
    ("n_seeds", "int32", "seeds", "dictionaries of this layer"),
    ("n_found", "int32", "seeds", "of them that find the term, its own among them; -1 where there is no discovery"),
    ("n_same", "int32", "seeds", "of them that have this very feature (cosine ≥ 0.7); -1 likewise"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted"),
)
LOCI = _columns(
    ("rank", "int32", "", "1 is the strongest place of the feature"),
    ("contig", "string", "", "contig; of scans the scan"),
    ("start", "int32", "bp", "first base of the place, 0-based; -1 in scans"),
    ("stop", "int32", "bp", "end, half-open; -1 in scans"),
    ("strand", "string", "", "strand it was read on; empty in scans"),
    ("peak", "int32", "bp", "the base of the strongest cell, the first in reading direction; -1 in scans"),
    ("x", "float64", "mm", "middle of the strongest cell in the world, RAS+; null along sequences"),
    ("y", "float64", "mm", "the same, to the front"),
    ("z", "float64", "mm", "the same, to the head"),
    ("activation", "float64", "raw code units", "code of the strongest cell"),
    ("terms", "string", "", "terms that are positive at the strongest cell; empty for none, null without labels"),
    ("block", "string", "", "block it lies in"),
    ("split", "string", "", "split of that block"),
)
MOTIFS = _columns(
    ("position", "int32", "bp", "from the strongest cell, in reading direction; 0 is its first base"),
    ("a", "float64", "fraction", "share of A at this position, over the different places"),
    ("c", "float64", "fraction", "share of C"),
    ("g", "float64", "fraction", "share of G"),
    ("t", "float64", "fraction", "share of T"),
    ("bits", "float64", "bits", "relative entropy to the background, less its mean for so few letters; at least 0"),
    ("bits_chance", "float64", "bits", "what 1 in 100 sets of random places passes at some position"),
    ("n_places", "int32", "places", "different places among the strongest"),
    ("n_copies", "int32", "places", "places left out: 90 % of their letters are those of a stronger one"),
)

AUDIT = _columns(
    (
        "treatment",
        "string",
        "",
        "what was done to the rows first, fitted on train people: none, leace, ablated, combat",
    ),
    ("target", "string", "", "column of the sheet that is read"),
    ("role", "string", "", "outcome (skill to keep) or confounder (leakage to lose)"),
    ("probe", "string", "", "linear (ridge) or nonlinear (Gaussian kernel)"),
    ("part", "string", "", "people scored: all; within G=g; unseen G=g (no person of the group was fitted on)"),
    ("n", "int32", "people", "people behind the score"),
    ("metric", "string", "", "AUROC (of classes: mean of one against the rest) or R2"),
    ("chance", "float64", "", "the score of knowing nothing"),
    ("score", "float64", "", "cross-fitted over blocks of people; AUROC of pairs within a fold"),
    ("lo", "float64", "", "lower end of its 95 % bootstrap interval over blocks"),
    ("hi", "float64", "", "upper end of that interval"),
)
MARKER = _columns(
    ("model", "string", "", "marker, or what it stands beside: covariates, all features, activations"),
    ("n", "int32", "people", "people, each told by fits that have not seen its block"),
    ("n_cases", "int32", "people", "cases among them"),
    ("auroc", "float64", "fraction", "area under the ROC curve over pairs of people within a fold"),
    ("auroc_lo", "float64", "fraction", "lower end of its 95 % interval (DeLong)"),
    ("auroc_hi", "float64", "fraction", "upper end of that interval"),
    ("difference", "float64", "fraction", "the marker's AUROC minus this model's"),
    ("difference_lo", "float64", "fraction", "lower end of its 95 % paired interval (DeLong)"),
    ("difference_hi", "float64", "fraction", "upper end of that interval"),
    ("difference_p", "float64", "", "two-sided p of no difference"),
    ("brier", "float64", "", "mean squared error of the probabilities"),
    ("calibration_slope", "float64", "", "slope of the outcome on the logit of the probabilities; 1 is right"),
    ("calibration_intercept", "float64", "logit", "shift of the logits at which their mean would be right; 0 is right"),
)


OUTCOME = _columns(("outcome", "string", "", "column of the sample sheet that is to be explained"))
PEOPLE = _columns(
    ("n", "int32", "people", "people behind the numbers"),
    ("n_cases", "int32", "people", "of them in the second class of a binary outcome; -1 for a numeric one"),
)
ASSOCIATION = _columns(
    ("beta", "float64", "outcome per unit", "naive effect, beside the covariates: log odds of a binary outcome"),
    ("se", "float64", "outcome per unit", "its standard error; of a binary outcome that of the score"),
    ("p", "float64", "", "naive p: t test, or score test of a binary outcome"),
    ("q", "float64", "", "Benjamini–Hochberg over the features of this outcome"),
    ("q_by", "float64", "", "Benjamini–Yekutieli over the same"),
    ("beta_adjusted", "float64", "outcome per unit", "effect beside covariates and confounders"),
    ("se_adjusted", "float64", "outcome per unit", "its standard error"),
    ("lo", "float64", "outcome per unit", "lower end of the 95 % interval of beta_adjusted"),
    ("hi", "float64", "outcome per unit", "upper end of that interval"),
    (
        "effect",
        "string",
        "",
        "how beta_adjusted was found: least squares; score (one Newton step); logistic (exact); firth (penalised, for "
        "separated classes; lo and hi of the profile likelihood); empty where not tested",
    ),
    ("p_adjusted", "float64", "", "adjusted p: t test, or score test of a binary outcome"),
    ("q_adjusted", "float64", "", "Benjamini–Hochberg over the features of this outcome"),
    ("q_by_adjusted", "float64", "", "Benjamini–Yekutieli over the same"),
    ("p_permuted", "float64", "", "p by permuting residuals within strata (Freedman–Lane); null where not asked for"),
    ("p_max", "float64", "", "the same against the largest statistic of all features: corrected for their number"),
    ("n_groups", "int32", "groups", "evaluable groups in which the feature varies"),
    ("same_sign", "float64", "", "1: the adjusted effect has one sign in all of them; 0: it has not"),
    ("beta_fixed", "float64", "outcome per unit", "fixed-effect mean of the groups' adjusted effects"),
    ("se_fixed", "float64", "outcome per unit", "its standard error"),
    ("beta_random", "float64", "outcome per unit", "random-effects mean of the same (DerSimonian–Laird)"),
    ("se_random", "float64", "outcome per unit", "its standard error"),
    ("tau2", "float64", "", "variance between groups of that model"),
    ("q_heterogeneity", "float64", "", "Cochran's Q of the groups' effects"),
    ("p_heterogeneity", "float64", "", "its p; null for fewer than two groups"),
    ("transfer", "float64", "fraction", "left-out groups whose effect has the sign found in all other people"),
    (
        "gain",
        "float64",
        "fraction",
        "held-out variance (deviance of a binary outcome, to second order) that the feature explains beyond covariates "
        "and confounders, over folds of blocks",
    ),
    ("flagged", "string", "", "declared confounders that flag the feature in the table confounding; empty for none"),
    ("verdict", "string", "", "biomarker, unresolved, confounder or none"),
    ("failed_clause", "string", "", "the first condition of a biomarker that does not hold; empty for a biomarker"),
    (
        "set",
        "int32",
        "",
        "of features with q_adjusted ≤ 0.05 the most significant of those they go with (r² ≥ 0.5 among people beside "
        "what is adjusted for, chained): one set is one finding; −1 for all others",
    ),
)
EFFECTS = _columns(
    ("group", "string", "", "group of people"),
    *[(c.name, c.dtype, c.unit, c.meaning) for c in PEOPLE],
    ("beta", "float64", "outcome per unit", "effect among them beside covariates and confounders"),
    ("se", "float64", "outcome per unit", "its standard error"),
    ("p", "float64", "", "its p: t test, or score test of a binary outcome"),
    ("lo", "float64", "outcome per unit", "lower end of its 95 % interval"),
    ("hi", "float64", "outcome per unit", "upper end of that interval"),
)
OUTCOMES = _columns(
    ("kind", "string", "", "binary or numeric"),
    ("classes", "string", "", "the two classes of a binary outcome, the one that is explained last"),
    *[(c.name, c.dtype, c.unit, c.meaning) for c in PEOPLE],
    ("n_groups", "int32", "groups", "groups declared"),
    ("n_evaluable", "int32", "groups", "groups with 10 people (of each class) or more, and enough to adjust"),
    ("explained", "float64", "fraction", "R² of the outcome regressed on the declared confounders alone"),
    ("identified", "bool", "", "explained < 0.8: outcome and confounders can be told apart"),
    ("sized", "bool", "", "10 people (of each class) or more in all, and in two groups where groups are declared"),
    ("n_features", "int32", "features", "features tested"),
    ("n_called", "int32", "features", "features with q_adjusted ≤ 0.05"),
    ("n_sets", "int32", "sets", "sets these fall into: findings that do not merely repeat each other"),
    ("lambda_naive", "float64", "", "genomic inflation: median naive chi-square over that without association"),
    ("lambda_adjusted", "float64", "", "the same of adjusted p; 1 where nothing is confounded any more"),
)
QQ = _columns(
    ("model", "string", "", "naive or adjusted"),
    ("expected", "float64", "-log10 p", "quantile of p without any association"),
    ("observed", "float64", "-log10 p", "quantile of the p found"),
    ("lo", "float64", "-log10 p", "lower end of the range that 95 % of observed ones lie in by chance, one by one"),
    ("hi", "float64", "-log10 p", "upper end of that range"),
)
CONFOUNDING = _columns(
    ("confounder", "string", "", "column of the sample sheet that the feature may follow"),
    ("n", "int32", "people", "people of whom it is known"),
    ("r2", "float64", "fraction", "variance of the feature that it explains, adjusted for the number of its columns"),
    ("r2_held_out", "float64", "fraction", "the same of people held out, over folds of blocks; can be below 0"),
    ("p", "float64", "", "F test"),
    ("q", "float64", "", "Benjamini–Hochberg over the features of this confounder"),
    (
        "attenuation",
        "float64",
        "fraction",
        "share of the feature's effect on the outcome that is gone once the confounder is adjusted for (1 − after / "
        "before, beside covariates); null where there is no naive effect at p ≤ 0.05",
    ),
    (
        "conditional_p",
        "float64",
        "",
        "generalised covariance measure: p of the feature's being independent of the outcome given confounder and "
        "covariates; small where it tells more than the confounder does",
    ),
    ("flag", "bool", "", "q ≤ 0.05 and r2_held_out ≥ 0.01"),
)

K = ("k", "int32", "columns", "columns a probe may use, taken one after the other on train; 0 = all of them")
PROBING = _columns(
    K,
    ("features", "string", "", "the columns it uses, in the order they were taken; null where it uses all"),
    ("n_rows", "int32", "rows", "sampled rows of train it was fitted on (cross-fitted: of one of the folds)"),
    ("n_positive", "int32", "rows", "positive ones among them"),
    ("penalty", "float64", "", "L2 penalty in units of a standardised column's curvature, chosen on valid"),
    (
        "ap_valid",
        "float64",
        "fraction",
        "average precision on sampled rows of valid, weighted: what penalties are chosen by",
    ),
    ("ap", "float64", "fraction", "average precision of its scores on the known cells; its chance level is prevalence"),
    ("ap_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("ap_hi", "float64", "fraction", "upper end of that interval"),
    ("auroc", "float64", "fraction", "area under the ROC curve of its scores, ties counted half"),
    ("auroc_lo", "float64", "fraction", "lower end of its 95 % delete-one-block jackknife interval"),
    ("auroc_hi", "float64", "fraction", "upper end of that interval"),
    ("above", "float64", "fraction", "F1 above chance (that of as many active cells anywhere) at a cut-off from valid"),
    ("prevalence", "float64", "fraction", "positive share of the known cells of the scored part"),
    ("n_cells", "int32", "cells", "positive cells of the scored part"),
    ("n_instances", "int32", "instances", "instances of the term in the scored part"),
    ("n_blocks", "int32", "blocks", "blocks behind the intervals"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted (ranks within folds, pooled)"),
)
PROBE_BLOCKS = _columns(
    K,
    ("block", "string", "", "block of the scored part"),
    ("ap_without", "float64", "fraction", "average precision on all other blocks"),
    ("auroc_without", "float64", "fraction", "area under the ROC curve on all other blocks"),
    ("positives", "int32", "cells", "positive cells of the block"),
    ("known", "int32", "cells", "cells of the block whose label is known"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted"),
)
PROBE_COMPARISON = _columns(
    K,
    ("ap", "float64", "fraction", "average precision of the probe on the dictionary's codes"),
    ("baseline", "string", "", "representation of the probe it is compared with; neurons are the raw activations"),
    ("baseline_layer", "string", "", "its layer"),
    ("baseline_k", "int32", "columns", "columns it may use; 0 = all: on raw activations the linear probe"),
    ("baseline_ap", "float64", "fraction", "its average precision on the same cells"),
    ("prevalence", "float64", "fraction", "chance level of both"),
    ("difference", "float64", "fraction", "ap − baseline_ap"),
    ("lo", "float64", "fraction", "lower end of the 95 % paired delete-one-block jackknife interval of the difference"),
    ("hi", "float64", "fraction", "upper end of that interval"),
    ("n_blocks", "int32", "blocks", "blocks behind the interval"),
    ("n_instances", "int32", "instances", "instances of the term in the scored part"),
    ("result", "string", "", "win (lo > 0), loss (hi < 0), open (the interval holds 0), none (no interval)"),
    ("split", "string", "", "the part the numbers come from: test, or cross-fitted"),
)
CURVES = _columns(
    K,
    ("n_train_blocks", "int32", "blocks", "blocks of train the probe was fitted on, in the order of their hashes"),
    ("n_rows", "int32", "rows", "sampled rows in them"),
    ("n_positive", "int32", "rows", "positive ones among these"),
    ("ap", "float64", "fraction", "average precision on test"),
    ("auroc", "float64", "fraction", "area under the ROC curve on test"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "detection": (*SUBJECT, *LAYER, *FEATURE, *TERM, *DETECTION, *NOTE),
    "screen": (*SUBJECT, *LAYER, *FEATURE, *TERM, *SCREEN, *NOTE),
    "correlation": (*SUBJECT, *LAYER, *FEATURE, *TERM, *CORRELATION, *NOTE),
    "enrichment": (*SUBJECT, *LAYER, *FEATURE, *TERM, *ENRICHMENT, *NOTE),
    "adjusted": (*SUBJECT, *LAYER, *FEATURE, *TERM, *ADJUSTED, *NOTE),
    "headline": (*SUBJECT, *LAYER, *FEATURE, *TERM, *HEADLINE, *NOTE),
    "features": (*SUBJECT, *LAYER, *FEATURE, *FEATURES),
    "readout": (*SUBJECT, *LAYER, *READOUT, *NOTE),
    "blocks": (*SUBJECT, *LAYER, *FEATURE, *TERM, *BLOCKS),
    "layers": (*SUBJECT, *LAYER, *TERM, *LAYERS, *NOTE),
    "comparison": (*SUBJECT, *LAYER, *FEATURE, *TERM, *COMPARISON, *NOTE),
    "candidates": (*SUBJECT, *LAYER, *CANDIDATES, *NOTE),
    "dictionaries": (*SUBJECT, *LAYER, *DICTIONARIES, *NOTE),
    "stability": (*SUBJECT, *LAYER, *STABILITY, *NOTE),
    "density": (*SUBJECT, *LAYER, *DENSITY),
    "audit": (*SUBJECT, *LAYER, *AUDIT, *NOTE),
    "marker": (*SUBJECT, *LAYER, *MARKER, *NOTE),
    "replication": (*SUBJECT, *LAYER, *FEATURE, *TERM, *REPLICATION, *NOTE),
    "discoveries": (*SUBJECT, *LAYER, *TERM, *DISCOVERIES, *NOTE),
    "loci": (*SUBJECT, *LAYER, *FEATURE, *LOCI),
    "motifs": (*SUBJECT, *LAYER, *FEATURE, *MOTIFS),
    "association": (*SUBJECT, *LAYER, *FEATURE, *OUTCOME, *PEOPLE, *ASSOCIATION, *NOTE),
    "effects": (*SUBJECT, *LAYER, *FEATURE, *OUTCOME, *EFFECTS, *NOTE),
    "outcomes": (*SUBJECT, *LAYER, *OUTCOME, *OUTCOMES, *NOTE),
    "qq": (*SUBJECT, *LAYER, *OUTCOME, *QQ),
    "confounding": (*SUBJECT, *LAYER, *FEATURE, *OUTCOME, *CONFOUNDING, *NOTE),
    "probing": (*SUBJECT, *LAYER, *TERM, *PROBING, *NOTE),
    "probe_blocks": (*SUBJECT, *LAYER, *TERM, *PROBE_BLOCKS),
    "probe_comparison": (*SUBJECT, *LAYER, *TERM, *PROBE_COMPARISON, *NOTE),
    "curves": (*SUBJECT, *LAYER, *TERM, *CURVES, *NOTE),
}
