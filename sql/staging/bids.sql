-- purpose: bids and what they bought
-- grain: date x keyword
-- units: bid and cost in company currency; impressions and clicks are counts
-- owner: growth data
select
    date,
    keyword,
    campaign,
    bid,
    impressions as impressions_count,
    clicks as clicks_count,
    cost,
    coalesce(randomised, false) as is_randomised
from raw.bids
where date <= $as_of
