-- purpose: clicks on ads and what came of them
-- grain: click
-- units: value in company currency; clicked_at and converted_at in UTC, clicked_date in the company's time zone
-- owner: growth data
select
    clicks.click_id,
    clicks.clicked_at,
    timezone($timezone, timezone('UTC', clicks.clicked_at))::date as clicked_date,
    clicks.channel,
    clicks.campaign,
    clicks.keyword,
    clicks.device,
    clicks.customer_id,
    clicks.converted_at,
    clicks.order_id,
    (clicks.value * case when coalesce(clicks.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as value
from raw.clicks as clicks
left join staging.rates as rates
    on rates.currency = clicks.currency and clicks.clicked_at::date >= rates.valid_from and clicks.clicked_at::date < rates.valid_until
where timezone($timezone, timezone('UTC', clicks.clicked_at))::date <= $as_of
