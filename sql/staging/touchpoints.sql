-- purpose: touches of people on their way to a conversion
-- grain: person x touched_at x channel
-- units: value in company currency; touched_at in UTC
-- owner: growth data
select
    touches.person_id,
    touches.touched_at,
    touches.channel,
    touches.campaign,
    touches.converted as is_converted,
    (touches.value * case when coalesce(touches.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as value
from raw.touchpoints as touches
left join staging.rates as rates
    on rates.currency = touches.currency and touches.touched_at::date >= rates.valid_from and touches.touched_at::date < rates.valid_until
where timezone($timezone, timezone('UTC', touches.touched_at))::date <= $as_of
