"""Chapter 10: is the network well trained?"""

PAGE = "10-is-the-network-well-trained"
TITLE = "Well trained?"
STUDIES = {
    "judged-networks": "study:MNIST_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "judged-networks": "verdicts:verdicts",
}  # rows -> what judges them
MNIST_JUDGE = "study:judge_spectra"  # what it asks of the networks
