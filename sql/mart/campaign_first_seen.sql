-- purpose: the day each campaign first spent
-- grain: campaign
-- units: none
-- owner: growth data
select
    campaign as subject,
    min(date) as first_date
from staging.ad_spend
where cost > 0
group by campaign
order by campaign
