-- purpose: clicks and conversions of each load, per day and line, so that a new file costs what that file costs
-- grain: load x date x channel x campaign x keyword x device x currency
-- units: counts; conversion_value in the currency of the row; date in the company's time zone
-- owner: growth data
-- incremental: raw.clicks
select
    _load_id,
    timezone($timezone, timezone('UTC', clicked_at))::date as date,
    channel,
    campaign,
    keyword,
    device,
    currency,
    count(*) as clicks_count,
    count(converted_at) as conversions_count,
    sum(case when converted_at is not null then value::decimal(24, 6) end) as conversion_value
from raw.clicks
group by all
