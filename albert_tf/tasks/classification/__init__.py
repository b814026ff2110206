"""Classification and regression of texts: features, head, metrics, and the base of their tasks.

Imported by the tasks that predict a label or a score.
"""
