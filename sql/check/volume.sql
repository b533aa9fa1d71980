-- purpose: tables whose last day or last week has far fewer or far more rows than any before
-- grain: table x span
-- units: rows of the table
-- owner: growth data
-- source: all
-- severity: warning
-- expected: the last week has between half and twice the rows of the eight weeks before, the last day at least three tenths of the same weekday
-- needs: ops.loads.file
with days as (
    select 'ad_spend' as source, date, sum(lines_count)::double as rows_count from spend_daily group by all
    union all
    select 'orders' as source, date, orders_count::double as rows_count from orders_daily
    union all
    select 'customers' as source, acquired_date as date, count(*)::double as rows_count from staging.customers group by all
    union all
    select 'clicks' as source, date, sum(clicks_count)::double as rows_count from mart.clicks_daily group by all
),
placed as (
    select *, max(date) over (partition by source) - date as days_ago from days
),
spans as (
    select source, 'last seven days' as span, days_ago // 7 as weeks_ago, sum(rows_count) as rows_count
    from placed
    where days_ago < 63
    group by all
    union all
    select source, 'last day' as span, days_ago // 7 as weeks_ago, rows_count
    from placed
    where days_ago % 7 = 0 and days_ago < 63
),
judged as (
    select
        source,
        span,
        sum(rows_count) filter (where weeks_ago = 0) as recent_count,
        min(rows_count) filter (where weeks_ago > 0) as low_count,
        max(rows_count) filter (where weeks_ago > 0) as high_count,
        count(*) filter (where weeks_ago > 0) as spans_count
    from spans
    group by source, span
)
select
    format('{}, {}', source, span) as subject,
    format('{:,.0f} rows, {:,.0f} to {:,.0f} in the eight weeks before', recent_count, low_count, high_count) as observed,
    recent_count as rows
from judged
where
    spans_count = 8
    and high_count >= $volume_rows
    and (
        recent_count < low_count * case span when 'last day' then $volume_day_fraction else $volume_low_fraction end
        or (recent_count > high_count * $volume_high_factor and span <> 'last day')
    )
order by source, span
