-- purpose: days without a result between days with one
-- grain: date
-- units: rows are days
-- owner: growth data
-- source: kpi
-- severity: warning
-- expected: a result that is booked daily has no missing days, nor zeros where every other day is far above zero
-- needs: staging.kpi.value
with span as (
    select min(date) as first_day, max(date) as last_day from kpi_daily
),
calendar as (
    select unnest(generate_series(first_day, last_day, interval 1 day))::date as date from span
),
days as (
    select
        calendar.date,
        coalesce(kpi_daily.value, 0) as value,
        kpi_daily.date is null as is_missing,
        median(value) filter (where value > 0) over nearby as usual
    from calendar
    left join kpi_daily on kpi_daily.date = calendar.date
    window nearby as (order by calendar.date rows between 14 preceding and 14 following)
),
judged as (
    select
        *,
        avg((value > 0)::int) over (partition by isodow(date)) as booked_fraction,
        count(*) over () as days_count,
        1.4826 * median(abs(sqrt(greatest(value, 0)) - sqrt(usual))) filter (where value > 0) over () as spread_root
    from days
)
select
    date::varchar as subject,
    case when is_missing then 'no row' else 'zero' end || format(', the days around it have {:,.0f}', usual) as observed,
    1 as rows
from judged
where
    value = 0
    and days_count >= 28
    and booked_fraction >= $weekday_booked_fraction
    and (is_missing or sqrt(usual) > $anomaly_spreads * spread_root)
order by date
