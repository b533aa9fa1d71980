-- purpose: clicks that have converted within 90 days, told by their own time of conversion or else by the order they name;
--   of several clicks that name one order the last one before it, else the last one; an order that is not known is one
--   with the same time of conversion, so that a word for none in place of an order makes no single order of all clicks
-- grain: click
-- units: dates and hour_band in the company's time zone; delay_days counts calendar days, -1 where the conversion lies
--        before the click; value and margin in company currency, of the order net of refunds where it is known, else the
--        click's own, null where there is none; an order that states no margin earns what all others do of their
--        revenue; is_new_customer is null where the order is not known
-- owner: growth data
with named as (
    select
        clicks.*,
        orders.ordered_at,
        orders.customer_id as orderer_id,
        orders.order_date,
        orders.net_revenue,
        orders.net_margin,
        coalesce(clicks.converted_at, orders.ordered_at) as happened_at
    from mart.clicks_converted_by_load as clicks
    left join staging.orders as orders on orders.order_id = clicks.order_id
),
dated as (
    select
        *,
        timezone($timezone, timezone('UTC', clicked_at)) as clicked_local,
        timezone($timezone, timezone('UTC', happened_at))::date as converted_date
    from named
    where happened_at is not null
),
credited as (
    select *
    from dated
    where converted_date <= $as_of and converted_date - clicked_local::date <= 90 and clicked_local::date <= $as_of
    qualify
        row_number() over (
            partition by
                order_id,
                case when order_id is null then click_id end,
                case when ordered_at is null then happened_at end
            order by clicked_at <= coalesce(ordered_at, happened_at) desc, clicked_at desc, click_id desc
        ) = 1
),
firsts as (
    select customer_id, min(order_date) as first_order_date from staging.orders group by customer_id
),
valued as (
    select
        credited.*,
        case
            when credited.ordered_at is not null then greatest(credited.net_revenue, 0)
            else credited.value * case when coalesce(credited.currency, $currency) = $currency then 1 else rates.rate end
        end as worth
    from credited
    left join staging.rates as rates
        on
            rates.currency = credited.currency
            and credited.clicked_at::date >= rates.valid_from
            and credited.clicked_at::date < rates.valid_until
)
select
    valued.click_id,
    valued.clicked_local::date as clicked_date,
    valued.channel,
    valued.campaign,
    valued.keyword,
    valued.query_type,
    valued.device,
    (extract(hour from valued.clicked_local) // 6)::integer as hour_band,
    valued.converted_date,
    case when valued.happened_at < valued.clicked_at then -1 else valued.converted_date - valued.clicked_local::date end::integer
        as delay_days,
    valued.worth::decimal(24, 6) as value,
    coalesce(valued.net_margin, (valued.worth::double * company.margin_fraction)::decimal(24, 6)) as margin,
    valued.order_date = firsts.first_order_date as is_new_customer
from valued
cross join mart.margin_fraction as company
left join firsts on firsts.customer_id = valued.orderer_id
