"""Chapter 12: how close is close?"""
