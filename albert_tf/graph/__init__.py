"""Graphs and sessions: model function, prediction, session hooks."""
