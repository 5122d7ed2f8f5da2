"""Chapter 2: is SGD chaotic?"""

PAGE = "02-is-sgd-chaotic"
TITLE = "Is SGD chaotic?"
STUDIES = {
    "is-sgd-chaotic": "study:STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "is-sgd-chaotic": "verdicts:verdicts",
}  # rows -> what judges them
