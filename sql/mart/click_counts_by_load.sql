-- purpose: clicks of each load by what was known when they happened, so that a new file costs what that file costs
-- grain: load x clicked_date x channel x campaign x keyword x query_type x device x hour_band
-- units: counts; clicked_date and hour_band in the company's time zone; hour_band 0 is 0 to 6 h, 3 is 18 to 24 h
-- owner: growth data
-- incremental: raw.clicks
select
    _load_id,
    timezone($timezone, timezone('UTC', clicked_at))::date as clicked_date,
    channel,
    campaign,
    keyword,
    query_type,
    device,
    (extract(hour from timezone($timezone, timezone('UTC', clicked_at))) // 6)::integer as hour_band,
    count(*) as clicks_count
from raw.clicks
group by all
