-- purpose: bids and what they bought
-- grain: date x campaign x keyword
-- units: bid, cost and value in company currency; impressions, clicks and conversions are counts
-- owner: growth data
select
    bids.date,
    bids.keyword,
    bids.campaign,
    (bids.bid * case when coalesce(bids.currency, $currency) = $currency then 1 else rates.rate end) as bid,
    bids.impressions as impressions_count,
    bids.clicks as clicks_count,
    (bids.cost * case when coalesce(bids.currency, $currency) = $currency then 1 else rates.rate end) as cost,
    bids.conversions as conversions_count,
    (bids.value * case when coalesce(bids.currency, $currency) = $currency then 1 else rates.rate end) as value,
    coalesce(bids.randomised, false) as is_randomised
from raw.bids as bids
left join staging.rates as rates
    on rates.currency = bids.currency and bids.date >= rates.valid_from and bids.date < rates.valid_until
where bids.date <= $as_of
