"""Chapter 6: a causal model of gradient descent."""

PAGE = "06-a-causal-model-of-gradient-descent"
TITLE = "A causal model"
STUDIES = {
    "a-causal-model-of-gradient-descent": "study:CAUSAL_MODEL_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "a-causal-model-of-gradient-descent": "verdicts:verdicts",
}  # rows -> what judges them
