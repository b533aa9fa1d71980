-- purpose: what platforms report against what finance booked, per closed month
-- grain: month x channel
-- units: company currency; rows are booked lines
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: what the platforms report is within 2 % of what finance booked, in every month and channel
-- needs: staging.ad_spend.cost, staging.spend_ledger.cost
with span as (
    select min(date) as first_day, max(date) as last_day from spend_daily
),
books as (
    select
        case
            when bool_and(day(date) = 1) then last_day(max(date))
            else max(date)
        end as last_day
    from staging.spend_ledger
),
booked as (
    select date_trunc('month', date)::date as month, channel, sum(cost)::double as cost, count(*) as lines_count
    from staging.spend_ledger
    group by all
),
reported as (
    select date_trunc('month', date)::date as month, channel, sum(cost) as cost
    from spend_daily
    where channel in (select channel from booked)
    group by all
),
sides as (
    select
        coalesce(reported.month, booked.month) as month,
        coalesce(reported.channel, booked.channel) as channel,
        coalesce(reported.cost, 0) as reported,
        coalesce(booked.cost, 0) as booked,
        coalesce(booked.lines_count, 1) as lines_count
    from reported
    full join booked on booked.month = reported.month and booked.channel = reported.channel
)
select
    format('{} {}', channel, strftime(month, '%Y-%m')) as subject,
    format('the platform reports {:,.2f}, finance booked {:,.2f}', reported, booked) as observed,
    lines_count as rows
from sides, span, books
where
    month >= span.first_day
    and last_day(month) <= least(span.last_day, books.last_day)
    and month >= (select min(month) from booked)
    and abs(reported - booked) > $reconciliation_fraction * greatest(booked, 0)
    and abs(reported - booked) > $reconciliation_amount
order by month, channel
