-- purpose: experiments that measured a channel's lift and ended by the day of the run
-- grain: channel x geo x start_date x end_date
-- units: spend_change in company currency over the test; lift and lift_se in KPI units over the test
-- owner: growth data
select
    channel,
    geo,
    start_date,
    end_date,
    spend_change,
    lift,
    lift_se
from raw.lift_tests
where end_date <= $as_of
