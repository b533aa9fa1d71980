-- purpose: customers that each channel acquired on the days for which spend is known, so that cost and customers match
-- grain: channel
-- units: customers
-- owner: growth data
select
    acquisition_channel as channel,
    count(*) as new_customers
from mart.customer_rfm
where
    first_order_date >= (select coalesce(min(date), date '0001-01-01') from staging.ad_spend)
    and first_order_date <= (select coalesce(max(date), date '9999-12-31') from staging.ad_spend)
group by acquisition_channel
order by acquisition_channel
