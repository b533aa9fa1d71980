-- purpose: amounts in a currency that has no exchange rate on their day
-- grain: source x currency
-- units: rows of the source
-- owner: growth data
-- source: all
-- severity: error
-- expected: every amount is in the company's currency, or rates holds what its currency is worth on that day
-- needs: ops.loads.file
with amounts as (
    select 'ad_spend' as source, currency, date, count(*) as rows_count from raw.ad_spend group by all
    union all
    select 'kpi' as source, currency, date, count(*) as rows_count from raw.kpi group by all
    union all
    select 'orders' as source, currency, ordered_at::date as date, count(*) as rows_count from raw.orders group by all
    union all
    select 'spend_ledger' as source, currency, date, count(*) as rows_count from raw.spend_ledger group by all
    union all
    select 'bids' as source, currency, date, count(*) as rows_count from raw.bids group by all
)
select
    format('{} in {}', amounts.source, amounts.currency) as subject,
    format('no rate for {} rows of {} to {}', sum(rows_count), min(amounts.date), max(amounts.date)) as observed,
    sum(rows_count) as rows
from amounts
left join staging.rates as rates
    on rates.currency = amounts.currency and amounts.date >= rates.valid_from and amounts.date < rates.valid_until
where amounts.currency <> $currency and amounts.date <= $as_of and rates.rate is null
group by amounts.source, amounts.currency
order by amounts.source, amounts.currency
