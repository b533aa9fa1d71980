-- purpose: what each customer ordered after one day, up to another
-- grain: customer
-- units: actual_orders counts order days; actual_value is revenue or margin in company currency, net of refunds
-- owner: growth data
select
    customer_id,
    count(distinct order_date)::double as actual_orders,
    sum(
        case
            when $value = 'margin' then coalesce(net_margin::double, net_revenue::double * overall.margin_fraction)
            else net_revenue::double
        end
    ) as actual_value
from staging.orders
cross join mart.margin_fraction as overall
where order_date > $after and order_date <= $up_to
group by customer_id
order by customer_id
