"""Chapter 12: how close is close?"""

PAGE = "12-how-close-is-close"
TITLE = "How close?"
STUDIES = {
    "how-close-is-close": "study:CLOSENESS_STUDIES",
}  # rows -> where the specs are
PAPER_SIZE = {
    "how-close-is-close": "theorem 3.1 names no size: widths up to 1,600",
}  # rows -> what of the paper's size the full specs have, which stand for it
VERDICTS = {
    "how-close-is-close": "verdicts:verdicts",
    "judged-networks": "verdicts:verdict_on_mnist",
}  # rows -> what judges them
MNIST_JUDGE = "distances:image_distances"  # what it asks of the networks of chapter 10
