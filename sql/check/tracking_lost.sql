-- purpose: channels whose clicks have been gone for days while their spend goes on
-- grain: channel
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: a channel that had clicks still has them on its latest days with spend
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
)
select
    channel as subject,
    format('cost {:,.2f} since {}, no clicks', sum(cost), min(date)) as observed,
    count(*) as rows
from judged
where clicked_days_after = 0 and usual >= $tracking_usual_fraction and expected_count >= $tracking_expected
group by channel
having count(*) >= $tracking_lost_days
order by channel
