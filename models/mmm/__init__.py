"""The Bayesian marketing mix model.

data          what the model is fed: weekly KPI, spend, controls, lift tests
config        sampler settings, priors
design        the linear part: intercept, trend, season, controls
media         carry-over with saturation, in numpy
lift          lift tests in the sampler's units
likelihood    the log likelihood with its gradient, compiled by numba
model         the PyMC model of the media parameters
fit           sampling, diagnostics, holdout score -> FittedMMM
fitted        the posterior and what follows from it: contributions, baseline, prediction
results       channel table, response curves
checks        what the gate looks at
store         a fitted model on disk
"""
