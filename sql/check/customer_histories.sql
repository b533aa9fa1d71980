-- purpose: customers whose first orders lie before the first order that was exported
-- grain: one row for the table
-- units: rows are customers
-- owner: growth data
-- source: orders
-- severity: warning
-- expected: the export of orders reaches back to the day nearly every customer was acquired
-- needs: staging.orders.order_date, staging.customers.acquired_date
with first as (
    select min(order_date) as first_day from staging.orders
),
customers as (
    select
        count(*) as customers_count,
        count_if(acquired_date < first_day - $history_slack_days::int) as cut_count,
        min(acquired_date) as first_acquired
    from staging.customers, first
)
select
    'customers' as subject,
    format(
        '{} of {} customers came before the first exported order of {}, the first on {}',
        cut_count, customers_count, first_day, first_acquired
    ) as observed,
    cut_count as rows
from customers, first
where cut_count > $history_cut_fraction * customers_count
