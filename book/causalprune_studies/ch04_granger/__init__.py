"""Chapter 4: Granger causality."""

PAGE = "04-granger-causality"
TITLE = "Granger causality"
STUDIES = {
    "granger-causality": "study:GRANGER_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "granger-causality": "verdicts:verdicts",
}  # rows -> what judges them
