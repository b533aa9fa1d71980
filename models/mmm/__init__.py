"""The Bayesian marketing mix model.

data          what the model is fed: weekly KPI, spend, controls, lift tests
config        form of the model, sampler settings, priors
exposure      impressions or clicks in place of spend, at their recent cost
design        the linear part: intercept, trend, season, controls
link          the scale on which parts add: the KPI, or its logarithm
media         carry-over and saturation, in numpy
interactions  pairs of channels that bring more, or less, together
lift          lift tests in the sampler's units
inputs        the arrays that the density reads, priors laid out
prior_check   what the priors say before any data; an earlier study as a prior
likelihood    the log density with its gradient, compiled by numba
model         the same model in PyMC, linear part and all
sampler       the posterior mode, then NUTS on a target made round by it
quick         an approximation by importance sampling, judged by k-hat
fit           fit, quick_fit -> FittedMMM; warm start; holdout score
geo           the hierarchy over geo: shared curves, partially pooled effects, one density
geo_lift      lift tests on the whole company, read by its geos
geo_sampler   mode and NUTS for it
geo_results   fit_geo -> GeoFit; figures and curves of geos and company
varying       effects that change slowly: the walk's shape, its path
jax_density   the same density in JAX, for other devices
fitted        the posterior and what follows from it: contributions, baseline, prediction
scores        R2, MAPE, CRPS, coverage
results       channel table, marginal ROAS, response curves
detail        weekly contributions, half-lives, saturation levels, sensitivity
selection     candidate forms compared: BIC, leave-one-out, forecasts, stacking; decay table
stability     refits at successive dates: what moved and why
checks        what the gate looks at, for the model and for each channel
store         a fitted model on disk
"""
