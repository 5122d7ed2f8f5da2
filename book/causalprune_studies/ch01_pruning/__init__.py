"""Chapter 1: what a network can lose."""

PAGE = "01-what-a-network-can-lose"
TITLE = "What a network can lose"
STUDIES = {
    "what-a-network-can-lose": "study:STUDIES",
}  # rows -> where the specs are
