"""Chapter 7: the lasso that prunes."""

PAGE = "07-the-lasso-that-prunes"
TITLE = "The lasso that prunes"
STUDIES = {
    "the-released-solver": "study:SOLVER_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "the-released-solver": "verdicts:verdicts",
}  # rows -> what judges them
