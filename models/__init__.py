"""Marginal's pure core: arrays, frames and frozen dataclasses in, the same out.

No orchestration, no database, no network, no clock, no environment: a date or a random generator is an argument.
"""
