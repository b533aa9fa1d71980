-- purpose: clicks and the conversions that have come of them so far, by what was known when the click happened
-- grain: clicked_date x channel x campaign x keyword x query_type x device x hour_band
-- units: counts, of the last 180 days: older clicks say little of today's; keywords beyond the 5000 most clicked count
--        as none; clicks whose conversion lies before them are left out
-- owner: growth data
with events as (
    select clicked_date, channel, campaign, keyword, query_type, device, hour_band, clicks_count, 0 as conversions_count
    from mart.click_counts_by_load
    union all
    select
        clicked_date, channel, campaign, keyword, query_type, device, hour_band,
        case when delay_days < 0 then -1 else 0 end as clicks_count,
        case when delay_days < 0 then 0 else 1 end as conversions_count
    from mart.click_conversions
),
recent as (
    select * from events where clicked_date <= $as_of::date and clicked_date > $as_of::date - 180
),
most_clicked as (
    select keyword from recent where keyword is not null group by keyword order by sum(clicks_count) desc, keyword limit 5000
)
select
    recent.clicked_date,
    recent.channel,
    recent.campaign,
    most_clicked.keyword,
    recent.query_type,
    recent.device,
    recent.hour_band,
    sum(recent.clicks_count)::bigint as clicks_count,
    sum(recent.conversions_count)::bigint as conversions_count
from recent
left join most_clicked on most_clicked.keyword = recent.keyword
group by all
having sum(recent.clicks_count) > 0
order by all
