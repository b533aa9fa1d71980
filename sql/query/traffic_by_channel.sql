-- purpose: clicks of each channel and the conversions they led to, as the company's own clicks tell, else as the platform
--   does; and the value of conversions that the platform claims
-- grain: channel
-- units: counts; conversion_value in company currency
-- owner: growth data
with own as (
    select channel, sum(clicks_count)::double as clicks, sum(conversions_count)::double as conversions
    from mart.clicks_daily
    group by channel
),
platform as (
    select
        channel,
        sum(clicks_count)::double as clicks,
        -- a platform export without conversions reads as none anywhere, which is not known rather than 0
        case when sum(sum(conversions_count)) over () > 0 then sum(conversions_count)::double end as conversions,
        sum(conversion_value)::double as conversion_value
    from staging.ad_spend
    group by channel
)
select
    coalesce(own.channel, platform.channel) as channel,
    case when own.clicks > 0 then own.clicks else platform.clicks end as clicks,
    case when own.clicks > 0 then own.conversions else platform.conversions end as conversions,
    platform.conversion_value
from own
full join platform on platform.channel = own.channel
order by coalesce(own.channel, platform.channel)
