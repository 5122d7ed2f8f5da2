"""Chapter 3: measuring chaos."""

PAGE = "03-measuring-chaos"
TITLE = "Measuring chaos"
STUDIES = {
    "measuring-chaos": "study:EXPONENT_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "measuring-chaos": "verdicts:verdicts",
}  # rows -> what judges them
