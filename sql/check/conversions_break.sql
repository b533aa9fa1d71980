-- purpose: days on which conversions vanish while clicks do not
-- grain: date, or date x channel where others convert
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: no day has clicks but not one conversion, where dozens were to be expected
-- needs: staging.ad_spend.cost
with judged as (
    select
        *,
        clicks_count * sum(conversions_count) over by_channel / nullif(sum(clicks_count) over by_channel, 0) as expected_count,
        sum(conversions_count) over (partition by channel order by date desc) as conversions_after,
        sum(conversions_count) over (partition by date) as conversions_of_day
    from spend_daily
    where clicks_count > 0
    window by_channel as (partition by channel)
),
broken as (
    select
        *,
        conversions_after = 0
        and sum(expected_count) filter (where conversions_after = 0) over (partition by channel) >= $conversions_expected
        and count_if(conversions_after = 0) over (partition by channel) >= $tracking_lost_days as is_lost
    from judged
),
named as (
    select *, case when conversions_of_day = 0 then date::varchar else format('{} {}', channel, date) end as subject
    from broken
    where conversions_count = 0 and not is_lost
)
select
    subject,
    format('{:,.0f} clicks, no conversion, about {:,.0f} expected', sum(clicks_count), sum(expected_count)) as observed,
    1 as rows
from named
group by subject
having sum(expected_count) >= $conversions_expected
order by subject
