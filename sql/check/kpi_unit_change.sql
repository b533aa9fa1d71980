-- purpose: a result that has changed its unit
-- grain: one row for the table
-- units: rows are days
-- owner: growth data
-- source: kpi
-- severity: error
-- expected: results never jump by a factor of thirty and stay there; a stretch far below that ends again is an outage
-- needs: staging.kpi.value
with changes as (
    select
        date,
        ln(value / median(value) over before) as change_log,
        count(*) over before as days_before_count
    from kpi_daily
    where value > 0
    window before as (order by date rows between 28 preceding and 1 preceding)
),
judged as (
    select *, 1.4826 * median(abs(change_log)) over () as spread_log from changes where days_before_count >= 7
),
jumps as (
    select * from judged where abs(change_log) >= greatest(ln($unit_factor), $anomaly_spreads * spread_log)
)
select
    'value' as subject,
    format('from {} on {:,.3g} times the days before', min(date), exp(arg_min(change_log, date))) as observed,
    count(*) as rows
from jumps
having
    count(*) filter (change_log > 0) >= $unit_days
    or max(date) = (select max(date) from kpi_daily) and (count(*) >= $unit_days or arg_max(change_log, date) > 0)
