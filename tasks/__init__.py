"""Thin input and output: a task reads, calls one pure function of `models`, and writes."""
