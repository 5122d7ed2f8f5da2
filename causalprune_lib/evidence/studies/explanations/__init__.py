"""Chapter 11: do the explanations survive?"""
