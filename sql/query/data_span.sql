-- purpose: first and last day of spend
-- grain: one row
-- units: none
-- owner: growth data
select
    min(date) as data_from,
    max(date) as data_to
from staging.ad_spend
