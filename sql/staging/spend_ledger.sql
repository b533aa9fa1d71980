-- purpose: what finance booked for media, to hold the platforms' figures against
-- grain: date x channel
-- units: cost in company currency
-- owner: growth data
select
    ledger.date,
    ledger.channel,
    (ledger.cost * case when coalesce(ledger.currency, $currency) = $currency then 1 else rates.rate end)::decimal(24, 6) as cost
from raw.spend_ledger as ledger
left join staging.rates as rates
    on rates.currency = ledger.currency and ledger.date >= rates.valid_from and ledger.date < rates.valid_until
where ledger.date <= $as_of
