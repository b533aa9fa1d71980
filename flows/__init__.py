"""The order of things: flows, settings and the `marginal` command."""
