-- purpose: how long after their click conversions came
-- grain: channel x clicked_date x delay_days
-- units: delay_days counts calendar days in the company's time zone, -1 where the conversion lies before the click
-- owner: growth data
select
    channel,
    clicked_date,
    delay_days,
    count(*) as conversions_count
from mart.click_conversions
where clicked_date > $as_of::date - 180
group by all
order by all
