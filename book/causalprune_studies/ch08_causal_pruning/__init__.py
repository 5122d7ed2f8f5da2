"""Chapter 8: causal pruning."""

PAGE = "08-causal-pruning"
TITLE = "Causal pruning"
STUDIES = {
    "causal-pruning": "study:CAUSAL_PRUNING_STUDIES",
    "causal-pruning-table2": "paper:TABLE2_STUDIES",
    "causal-pruning-table2-large": "large:LARGE_STUDIES",
    "causal-pruning-figures": "paper_figures:FIGURE_STUDIES",
    "causal-pruning-imagenet": "imagenet:IMAGENET_STUDIES",
    "training-steps": "steps:STEP_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "causal-pruning": "verdicts:verdicts",
}  # rows -> what judges them
