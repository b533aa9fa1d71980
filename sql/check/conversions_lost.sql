-- purpose: channels whose conversions have been gone for days while their clicks go on
-- grain: channel
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: a channel that had conversions still has them on its latest days with clicks
-- needs: staging.ad_spend.cost
with judged as (
    select
        *,
        clicks_count * sum(conversions_count) over by_channel / nullif(sum(clicks_count) over by_channel, 0) as expected_count,
        sum(conversions_count) over (partition by channel order by date desc) as conversions_after
    from spend_daily
    where clicks_count > 0
    window by_channel as (partition by channel)
)
select
    channel as subject,
    format('{:,.0f} clicks since {}, no conversion, about {:,.0f} expected', sum(clicks_count), min(date), sum(expected_count)) as observed,
    count(*) as rows
from judged
where conversions_after = 0
group by channel
having count(*) >= $tracking_lost_days and sum(expected_count) >= $conversions_expected
order by channel
