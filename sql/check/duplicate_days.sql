-- purpose: days of spend that are a copy of the day before
-- grain: date
-- units: rows are lines of ad_spend
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: no day repeats the day before in cost, clicks and views of every line, to the cent
-- needs: staging.ad_spend.date
with compared as (
    select
        *,
        coalesce(
            content = lag(content) over by_day and lines_count = lag(lines_count) over by_day
            and date = lag(date) over by_day + 1,
            false
        ) as is_copy
    from spend_daily
    where cost > 0
    window by_day as (partition by channel order by date)
),
judged as (
    select *, count_if(is_copy) over by_channel <= greatest(1, $duplicate_days_fraction * count(*) over by_channel) as is_rare
    from compared
    window by_channel as (partition by channel)
)
select
    date::varchar as subject,
    format('{} equals the day before', string_agg(channel, ', ' order by channel)) as observed,
    sum(lines_count) as rows
from judged
where is_copy and is_rare
group by date
having sum(figures_count) >= $duplicate_days_figures
order by date
