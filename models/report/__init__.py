"""The report of one run, from output tables to a plain view that a template can print.

wording    numbers, dates and lists as a reader wants them
blocks     the four things a section is made of: prose, table, figure, folded part
figures    drawings as plain plotly specifications
decision   the plan that is acted on, and the decision in plain words
headline   the top of the page
plan       the plan line by line
media      what media did
planner    the reader's own split
outlook    the forecast
customers  customer value
audit      triggers, data, models
view       all of it in order
"""
