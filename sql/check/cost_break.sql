-- purpose: days on which a channel's cost vanishes while its clicks do not
-- grain: date x channel
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: no day has clicks but no cost on a channel whose clicks otherwise cost something
-- needs: staging.ad_spend.cost
with judged as (
    select *, avg((cost > 0)::int) over (partition by channel) as usual
    from spend_daily
    where clicks_count >= $tracking_expected
)
select
    format('{} {}', channel, date) as subject,
    format('{:,.0f} clicks, no cost', clicks_count) as observed,
    1 as rows
from judged
where cost = 0 and usual >= $tracking_usual_fraction
order by date, channel
