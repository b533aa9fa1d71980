-- purpose: what one unit of a currency is worth, from each day on until the next rate
-- grain: currency x valid_from
-- units: rate in company currency per unit of the currency
-- owner: growth data
select
    currency,
    date as valid_from,
    lead(date, 1, $as_of::date + 1) over (partition by currency order by date) as valid_until,
    rate
from raw.rates
where date <= $as_of
