-- purpose: spend and traffic of each channel in every complete week, zero where nothing ran
-- grain: week_start x channel
-- units: spend and conversion_value in company currency; the rest are counts
-- owner: growth data
with channels as (
    select distinct channel from staging.ad_spend
),
spent as (
    select
        date_trunc('week', date)::date as week_start,
        channel,
        sum(cost) as spend,
        sum(impressions_count) as impressions_count,
        sum(clicks_count) as clicks_count,
        sum(conversions_count) as conversions_count,
        sum(conversion_value) as conversion_value
    from staging.ad_spend
    group by all
)
select
    calendar.week_start,
    channels.channel,
    coalesce(spent.spend, 0)::double as spend,
    coalesce(spent.impressions_count, 0)::double as impressions_count,
    coalesce(spent.clicks_count, 0)::double as clicks_count,
    coalesce(spent.conversions_count, 0)::double as conversions_count,
    coalesce(spent.conversion_value, 0)::double as conversion_value
from mart.calendar_weekly as calendar
cross join channels
left join spent on spent.week_start = calendar.week_start and spent.channel = channels.channel
order by calendar.week_start, channels.channel
