-- purpose: the last day the data cover: of spend and KPI where there are any, else of orders; rows that stand for
--          whole weeks (one date every seven days) cover the six days after their date too
-- grain: one row
-- units: none
-- owner: growth data
with days as (
    select date from raw.ad_spend
    union
    select date from raw.kpi
),
used as (
    select date from days
    union
    select ordered_at::date as date from raw.orders where not exists (select 1 from days)
)
select
    max(date) + case
        when count(*) > 1 and count(*) * 2 <= max(date) - min(date) and count(distinct isodow(date)) = 1 then 6
        else 0
    end as latest_day
from used
