-- purpose: how each customer orders: how often, in which season, for how many people, how long ahead
-- grain: customer
-- units: counts of orders, of order days and of months; revenue in company currency, net of refunds; party_size_mean in
--   people; dates in the company's time zone. The year is the 365 days up to the day of the run. The gift season is
--   15 November to 24 December with 1 to 14 February. Short notice is a start at most 3 days after the order. What
--   raw.orders has no column for is unknown: its counts are 0 and its mean is null
-- owner: growth data
with orders as (
    select
        staged.customer_id,
        staged.order_date,
        staged.net_revenue,
        month(staged.order_date) = 2 and day(staged.order_date) <= 14
        or month(staged.order_date) = 11 and day(staged.order_date) >= 15
        or month(staged.order_date) = 12 and day(staged.order_date) <= 24 as is_gift_season
    from staging.orders as staged
    where staged.order_date <= $as_of
),
order_days as (
    select
        customer_id,
        order_date,
        count(*) as orders_count,
        sum(net_revenue) as revenue,
        bool_or(is_gift_season) as is_gift_season
    from orders
    group by customer_id, order_date
),
rhythm as (
    select
        customer_id,
        sum(orders_count)::bigint as orders_count,
        count(*) as order_days_count,
        count(*) filter (where order_date > $as_of::date - 365) as year_order_days_count,
        count(distinct date_trunc('month', order_date)) filter (where order_date > $as_of::date - 365) as year_months_count,
        count(*) filter (where is_gift_season) as gift_season_days_count,
        sum(revenue)::double as revenue
    from order_days
    group by customer_id
),
-- a name that raw.orders has is that column; one that it lacks is the null beside it
stated as (
    select told.*
    from (select null as party_size, null as starts_at, null as category) as unknown,
        lateral (select customer_id, ordered_at, party_size, starts_at, category from raw.orders) as told
),
details as (
    select
        customer_id,
        timezone($timezone, timezone('UTC', ordered_at))::date as order_date,
        party_size::double as party_size,
        timezone($timezone, timezone('UTC', starts_at::timestamp))::date as start_date,
        lower(category::varchar) as category
    from stated
    where party_size is not null or starts_at is not null or category is not null
),
described as (
    select
        customer_id,
        avg(try_cast(party_size as decimal(9, 2))) filter (where party_size > 0) as party_size_mean,
        count(party_size) filter (where party_size > 0) as party_orders_count,
        count(*) filter (where start_date >= order_date) as dated_orders_count,
        count(*) filter (where start_date >= order_date and start_date - order_date <= 3) as short_notice_orders_count,
        count(category) as categorised_orders_count,
        count(*) filter (where regexp_matches(category, 'gift|voucher|gutschein|geschenk|cadeau|regalo')) as gift_orders_count,
        count(*) filter (where regexp_matches(category, 'famil|kids|child|kinder|enfant|niñ')) as family_orders_count
    from details
    where order_date <= $as_of
    group by customer_id
)
select
    rhythm.*,
    described.party_size_mean,
    coalesce(described.party_orders_count, 0) as party_orders_count,
    coalesce(described.dated_orders_count, 0) as dated_orders_count,
    coalesce(described.short_notice_orders_count, 0) as short_notice_orders_count,
    coalesce(described.categorised_orders_count, 0) as categorised_orders_count,
    coalesce(described.gift_orders_count, 0) as gift_orders_count,
    coalesce(described.family_orders_count, 0) as family_orders_count
from rhythm
left join described on described.customer_id = rhythm.customer_id
order by rhythm.customer_id
