-- purpose: optional columns of customers that have begun to come empty
-- grain: column
-- units: rows are the empty ones of the last week
-- owner: growth data
-- source: customers
-- severity: warning
-- expected: columns of customers are empty about as often as in the eight weeks before
-- needs: raw.customers.acquired_at
with newest as (
    select max(acquired_at::date) as last_day from raw.customers where acquired_at::date <= $as_of
),
counted as (
    select
        acquired_at::date > last_day - 7 as is_recent,
        count(*) as rows_count,
        count(*) - count(channel) as channel,
        count(*) - count(campaign) as campaign,
        count(*) - count(country) as country,
        count(*) - count(device) as device
    from raw.customers, newest
    where acquired_at::date between last_day - 62 and last_day
    group by all
),
long as (
    unpivot counted on channel, campaign, country, device into name column_name value empty_count
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
