"""Chapter 10: is the network well trained?"""

PAGE = "10-is-the-network-well-trained"
TITLE = "Well trained?"
STUDIES = {
    "judged-networks": "study:MNIST_STUDIES",
}  # rows -> where the specs are
PAPER_SIZE = {
    "judged-networks": "the paper's MNIST, network and 50 epochs",
}  # rows -> what of the paper's size the full specs have, which stand for it
VERDICTS = {
    "judged-networks": "verdicts:verdicts",
}  # rows -> what judges them
MNIST_JUDGE = "study:judge_spectra"  # what it asks of the networks
