-- purpose: channels whose cost has changed its unit
-- grain: channel
-- units: rows are days
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: what a click, or else a view or a day, costs never jumps by a factor of thirty
-- needs: staging.ad_spend.cost
with jumps as (
    select *
    from spend_prices
    where
        abs(change_log) >= ln(case when is_blind then $unit_factor_blind else $unit_factor end)
        and abs(change_log) >= $anomaly_spreads * spread_log
)
select
    channel as subject,
    format(
        'from {} on {:,.3g} times the days before', min(date), exp(arg_min(change_log, date))
    ) as observed,
    count(*) as rows
from jumps
group by channel
order by channel
