-- purpose: clicks of each channel and the conversions they led to, both as the company's own clicks tell or both as the
--   platform does; and the return that the platform claims
-- grain: channel
-- units: counts, own clicks of the last 180 days; claimed_roas is conversion value over cost, null where none is claimed
-- owner: growth data
with own as (
    select
        channel,
        sum(clicks_count)::double as clicks,
        -- clicks that name no conversion anywhere do not tell of any, which is not known rather than 0
        case when sum(sum(conversions_count)) over () > 0 then sum(conversions_count)::double end as conversions
    from mart.click_cells
    group by channel
),
platform as (
    select
        channel,
        sum(clicks_count)::double as clicks,
        -- nor does a platform export without conversions
        case when sum(sum(conversions_count)) over () > 0 then sum(conversions_count)::double end as conversions,
        nullif(sum(conversion_value), 0)::double / nullif(sum(cost), 0)::double as claimed_roas
    from staging.ad_spend
    group by channel
),
both_sides as (
    select
        coalesce(own.channel, platform.channel) as channel,
        own.clicks as own_clicks,
        own.conversions as own_conversions,
        platform.clicks as platform_clicks,
        platform.conversions as platform_conversions,
        platform.claimed_roas,
        platform.channel is null or (own.clicks > 0 and own.conversions is not null) as is_own
    from own
    full join platform on platform.channel = own.channel
)
select
    channel,
    case when is_own then own_clicks else platform_clicks end as clicks,
    case when is_own then own_conversions else platform_conversions end as conversions,
    claimed_roas
from both_sides
order by channel
