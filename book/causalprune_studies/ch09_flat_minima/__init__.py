"""Chapter 9: flat minima."""

PAGE = "09-flat-minima"
TITLE = "Flat minima"
STUDIES = {
    "flat-minima": "study:FLAT_MINIMA_STUDIES",
    "flat-minima-table2": "table2:TABLE2_MINIMA_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "flat-minima": "verdicts:verdicts",
}  # rows -> what judges them
