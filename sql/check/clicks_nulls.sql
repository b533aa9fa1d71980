-- purpose: optional columns of clicks that have begun to come empty
-- grain: column
-- units: rows are the empty ones of the last week
-- owner: growth data
-- source: clicks
-- severity: warning
-- expected: columns of clicks are empty about as often as in the eight weeks before
-- needs: mart.clicks_daily.date
with newest as (
    select max(date) as last_day from mart.clicks_daily
),
counted as (
    select
        date > last_day - 7 as is_recent,
        sum(clicks_count)::double as rows_count,
        coalesce(sum(clicks_count) filter (where campaign is null), 0)::double as campaign,
        coalesce(sum(clicks_count) filter (where keyword is null), 0)::double as keyword,
        coalesce(sum(clicks_count) filter (where device is null), 0)::double as device
    from mart.clicks_daily, newest
    where date > last_day - 63
    group by all
),
long as (
    unpivot counted on campaign, keyword, device into name column_name value empty_count
)
select
    recent.column_name as subject,
    format(
        'empty in {:.0f} % of the last seven days, in {:.0f} % of the eight weeks before',
        100 * recent.empty_count / recent.rows_count,
        100 * earlier.empty_count / earlier.rows_count
    ) as observed,
    recent.empty_count as rows
from long as recent
inner join long as earlier on earlier.column_name = recent.column_name and not earlier.is_recent
where
    recent.is_recent
    and least(recent.rows_count, earlier.rows_count) >= $null_rows
    and recent.empty_count / recent.rows_count - earlier.empty_count / earlier.rows_count > $null_jump_fraction
order by subject
