-- purpose: advertising cost and traffic, one typed row per day and finest line the exports hold
-- grain: date x channel x campaign x ad_group x country x device
-- units: cost and conversion_value in company currency; impressions, clicks and conversions are counts
-- owner: growth data
select
    date,
    channel,
    coalesce(campaign, channel) as campaign,
    ad_group,
    country,
    device,
    cost::decimal(24, 6) as cost,
    coalesce(impressions, 0) as impressions_count,
    coalesce(clicks, 0) as clicks_count,
    coalesce(conversions, 0) as conversions_count,
    coalesce(conversion_value, 0)::decimal(24, 6) as conversion_value
from raw.ad_spend
where date <= $as_of
