-- purpose: bids with the channel their campaign belongs to
-- grain: date x keyword
-- units: bid and cost in company currency; counts
-- owner: growth data
with campaigns as (
    select campaign, min(channel) as channel from staging.ad_spend group by campaign
)
select
    bids.date,
    bids.keyword,
    bids.campaign,
    coalesce(campaigns.channel, bids.campaign, bids.keyword) as channel,
    bids.bid::double as bid,
    bids.clicks_count as clicks,
    bids.impressions_count as impressions,
    bids.cost::double as cost,
    bids.is_randomised as randomised
from staging.bids as bids
left join campaigns on campaigns.campaign = bids.campaign
order by bids.date, bids.keyword
