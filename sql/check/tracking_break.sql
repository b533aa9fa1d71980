-- purpose: days on which a channel's clicks vanish while its spend does not
-- grain: date x channel
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: no day has spend but no clicks on a channel that has clicks on four of five days with spend
-- needs: staging.ad_spend.cost
with judged as (
    select
        *,
        avg((clicks_count > 0)::int) over by_channel as usual,
        cost / nullif(sum(cost) over by_channel / nullif(sum(clicks_count) over by_channel, 0), 0) as expected_count,
        count_if(clicks_count > 0) over (partition by channel order by date desc) as clicked_days_after
    from spend_daily
    where cost > 0
    window by_channel as (partition by channel)
),
broken as (
    select
        *,
        clicked_days_after = 0
        and count_if(clicked_days_after = 0 and expected_count >= $tracking_expected) over (partition by channel)
        >= $tracking_lost_days as is_lost
    from judged
)
select
    format('{} {}', channel, date) as subject,
    format('cost {:,.2f}, no clicks, about {:,.0f} expected', cost, expected_count) as observed,
    1 as rows
from broken
where clicks_count = 0 and usual >= $tracking_usual_fraction and expected_count >= $tracking_expected and not is_lost
order by date, channel
