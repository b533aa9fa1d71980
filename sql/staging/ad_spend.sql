-- purpose: advertising cost and traffic, one typed row per day and finest line the exports hold
-- grain: date x channel x campaign x ad_group x country x device
-- units: cost and conversion_value in company currency; impressions, clicks and conversions are counts
-- owner: growth data
select
    ads.date,
    ads.channel,
    coalesce(ads.campaign, ads.channel) as campaign,
    ads.ad_group,
    ads.country,
    ads.device,
    (ads.cost * case when coalesce(ads.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as cost,
    coalesce(ads.impressions, 0) as impressions_count,
    coalesce(ads.clicks, 0) as clicks_count,
    coalesce(ads.conversions, 0) as conversions_count,
    (coalesce(ads.conversion_value, 0) * case when coalesce(ads.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as conversion_value
from raw.ad_spend as ads
left join staging.rates as rates
    on rates.currency = ads.currency and ads.date >= rates.valid_from and ads.date < rates.valid_until
where ads.date <= $as_of
