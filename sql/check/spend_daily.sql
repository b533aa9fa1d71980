-- purpose: what the checks of ad_spend read: its lines summed once, with a fingerprint of all that stands in them
-- grain: date x channel
-- units: cost in company currency; counts; content is a sum of hashes; figures counts amounts that chance does not repeat
-- owner: growth data
select
    date,
    channel,
    coalesce(sum(cost), 0)::double as cost,
    sum(impressions_count)::double as impressions_count,
    sum(clicks_count)::double as clicks_count,
    sum(conversions_count)::double as conversions_count,
    count(*) as lines_count,
    sum(hash(campaign, ad_group, country, device, cost, impressions_count, clicks_count)) as content,
    count(*) filter (where cost > 0)
    + count(*) filter (where clicks_count >= 10)
    + count(*) filter (where impressions_count >= 100) as figures_count
from staging.ad_spend
group by date, channel
