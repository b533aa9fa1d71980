-- purpose: days whose result is far from that of the days around them
-- grain: date
-- units: KPI units; rows are days
-- owner: growth data
-- source: kpi
-- severity: warning
-- expected: every day's result is within three times that of the two weeks on either side, or within its usual spread
-- needs: staging.kpi.value
with nearby as (
    select
        date,
        value,
        median(value) over (order by date rows between 14 preceding and 14 following) as usual,
        count(*) over () as days_count
    from kpi_daily
    where value > 0
),
judged as (
    select
        *,
        1.4826 * median(abs(ln(value / usual))) over () as spread_log,
        1.4826 * median(abs(sqrt(value) - sqrt(usual))) over () as spread_root -- few orders a day spread low days widely
    from nearby
)
select
    date::varchar as subject,
    format('{:,.0f}, the days around it have {:,.0f}', value, usual) as observed,
    1 as rows
from judged
where
    days_count >= 28
    and abs(ln(value / usual)) > greatest($anomaly_spreads * spread_log, ln($anomaly_factor))
    and abs(sqrt(value) - sqrt(usual)) > $anomaly_spreads * spread_root
    and abs(ln(value / usual)) < ln($unit_factor)
order by date
