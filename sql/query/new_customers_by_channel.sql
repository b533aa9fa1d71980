-- purpose: what each channel has spent and whom it has acquired over the same days: since its first spend, as long as
--   both spend and orders are known
-- grain: channel
-- units: spend in company currency; customers; of a channel without spend, those of all days on which both are known
-- owner: growth data
with paid as (
    select min(date) as first_day, max(date) as last_day from staging.ad_spend
),
ordered as (
    select min(order_date) as first_day, max(order_date) as last_day from staging.orders
),
common as (  -- where either is absent altogether, greatest and least leave its null out
    select
        greatest(paid.first_day, ordered.first_day) as first_day,
        least(paid.last_day, ordered.last_day) as last_day
    from paid, ordered
),
spent as (
    select
        ads.channel,
        coalesce(sum(ads.cost) filter (where ads.date between common.first_day and common.last_day), 0)::double as spend,
        min(ads.date) filter (where ads.cost > 0 and ads.date between common.first_day and common.last_day) as first_day
    from staging.ad_spend as ads
    cross join common
    group by ads.channel
),
acquired as (
    select
        rfm.acquisition_channel as channel,
        count(*) as new_customers
    from mart.customer_rfm as rfm
    cross join common
    left join spent on spent.channel = rfm.acquisition_channel
    where rfm.first_order_date between coalesce(spent.first_day, common.first_day) and common.last_day
    group by rfm.acquisition_channel
)
select
    coalesce(spent.channel, acquired.channel) as channel,
    coalesce(spent.spend, 0) as spend,
    coalesce(acquired.new_customers, 0) as new_customers
from spent
full join acquired on acquired.channel = spent.channel
order by channel
