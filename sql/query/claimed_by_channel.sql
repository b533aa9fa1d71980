-- purpose: each channel's spend and the value of conversions that the platform claims for it
-- grain: channel
-- units: company currency; conversion_value is null where no platform reports any
-- owner: growth data
select
    channel,
    sum(cost)::double as spend,
    case when sum(sum(conversion_value)) over () > 0 then sum(conversion_value)::double end as conversion_value
from staging.ad_spend
group by channel
order by channel
