"""Chapter 5: LEGCNet."""

PAGE = "05-legcnet"
TITLE = "LEGCNet"
STUDIES = {
    "legcnet": "study:LEGCNET_STUDIES",
    "legcnet-splits": "splits:SPLITS_STUDIES",
    "legcnet-ablation": "settings:ABLATION_STUDIES",
    "legcnet-mnist": "mnist:MNIST_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "legcnet": "verdicts:best_verdicts",
    "legcnet-ablation": "changes_verdicts:best_verdicts",
    "legcnet-mnist": "mnist_verdicts:verdicts",
}  # rows -> what judges them; the splits are read with both of the first
