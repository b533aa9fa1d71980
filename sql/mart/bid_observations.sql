-- purpose: bids with the channel their campaign belongs to; keywords without a campaign are one channel, so that they
--   are compared with each other
-- grain: date x campaign x keyword
-- units: bid, cost and value in company currency; counts
-- owner: growth data
with campaigns as (
    select campaign, min(channel) as channel from staging.ad_spend group by campaign
)
select
    bids.date,
    bids.keyword,
    bids.campaign,
    coalesce(campaigns.channel, bids.campaign, '(no campaign)') as channel,
    bids.bid::double as bid,
    bids.clicks_count as clicks,
    bids.impressions_count as impressions,
    bids.cost::double as cost,
    bids.conversions_count::double as conversions,
    bids.value::double as value,
    bids.is_randomised as randomised
from staging.bids as bids
left join campaigns on campaigns.campaign = bids.campaign
order by bids.date, bids.campaign, bids.keyword
