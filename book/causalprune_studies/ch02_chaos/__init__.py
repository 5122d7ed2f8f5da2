"""Chapter 2: is SGD chaotic?"""

PAGE = "02-is-sgd-chaotic"
TITLE = "Is SGD chaotic?"
STUDIES = {
    "is-sgd-chaotic": "study:STUDIES",
}  # rows -> where the specs are
PAPER_SIZE = {
    "is-sgd-chaotic": "the cancer table, its epochs and initial networks",
}  # rows -> what of the paper's size the full specs have, which stand for it
VERDICTS = {
    "is-sgd-chaotic": "verdicts:verdicts",
}  # rows -> what judges them
