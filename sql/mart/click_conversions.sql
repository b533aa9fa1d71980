-- purpose: clicks that have converted within 90 days, told by their own time of conversion or else by the order they name
-- grain: click
-- units: dates and hour_band in the company's time zone; delay_days counts calendar days, -1 where the conversion lies
--        before the click; value in company currency, of the order net of refunds where it is known, else the
--        click's own, null where there is none; is_new_customer is null where the order is not known
-- owner: growth data
with named as (
    select
        clicks.*,
        orders.ordered_at,
        orders.customer_id as orderer_id,
        orders.order_date,
        orders.net_revenue,
        coalesce(clicks.converted_at, orders.ordered_at) as happened_at
    from raw.clicks as clicks
    left join staging.orders as orders on orders.order_id = clicks.order_id
    where clicks.converted_at is not null or clicks.order_id is not null
),
dated as (
    select
        *,
        timezone($timezone, timezone('UTC', clicked_at)) as clicked_local,
        timezone($timezone, timezone('UTC', happened_at))::date as converted_date
    from named
    where happened_at is not null
),
firsts as (
    select customer_id, min(order_date) as first_order_date from staging.orders group by customer_id
)
select
    dated.click_id,
    dated.clicked_local::date as clicked_date,
    dated.channel,
    dated.campaign,
    dated.keyword,
    dated.query_type,
    dated.device,
    (extract(hour from dated.clicked_local) // 6)::integer as hour_band,
    dated.converted_date,
    case when dated.happened_at < dated.clicked_at then -1 else dated.converted_date - dated.clicked_local::date end::integer
        as delay_days,
    case
        when dated.ordered_at is not null then greatest(dated.net_revenue, 0)
        else dated.value * case when coalesce(dated.currency, $currency) = $currency then 1 else rates.rate end
    end::decimal(24, 6) as value,
    dated.order_date = firsts.first_order_date as is_new_customer
from dated
left join firsts on firsts.customer_id = dated.orderer_id
left join staging.rates as rates
    on rates.currency = dated.currency and dated.clicked_at::date >= rates.valid_from and dated.clicked_at::date < rates.valid_until
where dated.converted_date <= $as_of and dated.converted_date - dated.clicked_local::date <= 90 and dated.clicked_local::date <= $as_of
