"""Chapter 5: LEGCNet."""

PAGE = "05-legcnet"
TITLE = "LEGCNet"
STUDIES = {
    "legcnet": "study:LEGCNET_STUDIES",
    "legcnet-splits": "splits:SPLITS_STUDIES",
    "legcnet-ablation": "settings:ABLATION_STUDIES",
    "legcnet-mnist": "mnist:MNIST_STUDIES",
}  # rows -> where the specs are
PAPER_SIZE = {
    "legcnet": "the paper's tables, epochs, windows and initial networks",
    "legcnet-ablation": "the paper's tables, epochs, windows and initial networks",
    "legcnet-mnist": "the paper's MNIST, network and 50 epochs",
}  # rows -> what of the paper's size the full specs have, which stand for it
VERDICTS = {
    "legcnet": "verdicts:best_verdicts",
    "legcnet-ablation": "changes_verdicts:best_verdicts",
    "legcnet-mnist": "mnist_verdicts:verdicts",
}  # rows -> what judges them; the splits are read with both of the first
