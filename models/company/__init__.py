"""The demo company: a travel-ticket business whose hidden truth is known.

world.py    what is true: channels, curves, controls, shocks (drawn from the seed)
history.py  what happened: weeks stepped one by one under any spend
tables.py   what the business sees: the eleven source tables, dirt included
evidence.py its experiments: A/B tests, a geo test, lift tests
truth.py    what an oracle would say: contributions, ROAS, best plan, score of a plan
"""
