-- purpose: clicks and the conversions they led to, per day and line
-- grain: date x channel x campaign x keyword x device
-- units: counts; conversion_value in company currency
-- owner: growth data
select
    clicks.date,
    clicks.channel,
    clicks.campaign,
    clicks.keyword,
    clicks.device,
    sum(clicks.clicks_count)::bigint as clicks_count,
    sum(clicks.conversions_count)::bigint as conversions_count,
    sum(
        clicks.conversion_value * case when coalesce(clicks.currency, $currency) = $currency then 1 else rates.rate end
    )::double as conversion_value
from mart.clicks_by_load as clicks
left join staging.rates as rates
    on rates.currency = clicks.currency and clicks.date >= rates.valid_from and clicks.date < rates.valid_until
where clicks.date <= $as_of
group by clicks.date, clicks.channel, clicks.campaign, clicks.keyword, clicks.device
order by clicks.date, clicks.channel, clicks.campaign, clicks.keyword, clicks.device
