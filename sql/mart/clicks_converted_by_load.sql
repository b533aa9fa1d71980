-- purpose: clicks of each load that tell of a conversion or name an order, so that a new file costs what that file costs
-- grain: load x click
-- units: times in UTC; value in the currency of the row
-- owner: growth data
-- incremental: raw.clicks
select
    _load_id,
    click_id,
    clicked_at,
    channel,
    campaign,
    keyword,
    query_type,
    device,
    converted_at,
    order_id,
    value,
    currency
from raw.clicks
where converted_at is not null or order_id is not null
