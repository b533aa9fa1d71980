-- purpose: days without a row between days with rows
-- grain: date
-- units: rows are missing lines, at least
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: a channel that is reported daily has rows for every day, zeros included
-- needs: staging.ad_spend.date
with steps as (
    select
        channel,
        date,
        date - lag(date) over by_day - 1 as missing_days,
        count(*) over by_channel as days_count,
        max(date) over by_channel - min(date) over by_channel + 1 as span_days
    from spend_daily
    window by_day as (partition by channel order by date), by_channel as (partition by channel)
),
gaps as (
    select channel, unnest(generate_series(date - missing_days::int, date - 1, interval 1 day))::date as date
    from steps
    where
        missing_days between 1 and $gap_days
        and span_days >= 28
        and days_count >= $gap_daily_fraction * span_days
)
select
    date::varchar as subject,
    format('no rows of {}', string_agg(channel, ', ' order by channel)) as observed,
    count(*) as rows
from gaps
group by date
order by date
