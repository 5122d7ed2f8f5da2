"""Chapter 11: do the explanations survive?"""

PAGE = "11-do-the-explanations-survive"
TITLE = "Explanations"
STUDIES = {
    "do-the-explanations-survive": "study:EXPLANATION_STUDIES",
}  # rows -> where the specs are
VERDICTS = {
    "do-the-explanations-survive": "verdicts:verdicts",
}  # rows -> what judges them
MNIST_JUDGE = "images:image_agreement"  # what it asks of the networks of chapter 10
