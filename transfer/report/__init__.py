"""What a sweep says at its end: the numbers (`comparison`), the drawing (`page`), the screen, and studies.

Nothing here runs a job.
"""
