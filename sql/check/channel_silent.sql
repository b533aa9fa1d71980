-- purpose: channels that have stopped being reported while others go on
-- grain: channel
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: a channel that was reported daily has rows in the last seven days, zeros included
-- needs: staging.ad_spend.date
with newest as (
    select max(date) as last_day from spend_daily
),
reported as (
    select
        channel,
        max(date) as last_channel_day,
        count_if(date > last_day - 7 - $silent_history_days::int) as days_count
    from spend_daily, newest
    group by all
)
select
    channel as subject,
    format('its last row is of {}', last_channel_day) as observed,
    last_day - last_channel_day as rows
from reported, newest
where
    last_channel_day <= last_day - $silent_days::int
    and days_count >= $gap_daily_fraction * ($silent_history_days - (last_day - 7 - last_channel_day))
    and last_channel_day > last_day - 7 - $silent_history_days::int
order by channel
