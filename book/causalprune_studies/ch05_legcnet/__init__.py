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
    "legcnet": "verdicts:verdicts",
    "legcnet-ablation": "verdicts:changes_verdicts",
    "legcnet-mnist": "verdicts:mnist_verdicts",
}  # rows -> what judges them
