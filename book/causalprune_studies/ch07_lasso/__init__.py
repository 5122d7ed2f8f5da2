"""Chapter 7: the lasso that prunes."""

PAGE = "07-the-lasso-that-prunes"
TITLE = "The lasso that prunes"
