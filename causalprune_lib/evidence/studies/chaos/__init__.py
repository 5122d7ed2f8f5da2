"""Chapters 2 to 4: is SGD chaotic, can it be measured, and what does a Granger test find?"""
