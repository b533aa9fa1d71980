-- purpose: what a click, a view or else a day costs, against the days before it
-- grain: date x channel, days with cost
-- units: price in company currency per click, per view where clicks are few, per day where nothing is counted;
--        change_log is its logarithm against the median of the 28 days with cost before, spread_log what is usual
-- owner: growth data
with priced as (
    select
        *,
        case
            when sum(clicks_count) over by_channel > 0 then case when clicks_count >= 10 then cost / clicks_count end
            when sum(impressions_count) over by_channel > 0
                then case when impressions_count >= 100 then cost / impressions_count end
            else cost
        end as price,
        sum(clicks_count + impressions_count) over by_channel = 0 as is_blind
    from spend_daily
    where cost > 0
    window by_channel as (partition by channel)
),
changes as (
    select
        *,
        ln(price / median(price) over before) as change_log,
        count(price) over before as days_before_count
    from priced
    where price is not null
    window before as (partition by channel order by date rows between 28 preceding and 1 preceding)
)
select
    date,
    channel,
    cost,
    price,
    is_blind,
    case when days_before_count >= 7 then change_log end as change_log,
    coalesce(1.4826 * median(abs(change_log)) over (partition by channel), 0) as spread_log
from changes
