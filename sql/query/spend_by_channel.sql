-- purpose: each channel's spend over the whole history
-- grain: channel
-- units: company currency
-- owner: growth data
select
    channel,
    sum(cost)::double as spend
from staging.ad_spend
group by channel
order by channel
