-- purpose: cost in millionths of the currency, as some platforms deliver it
-- grain: channel
-- units: company currency per click and per thousand views; rows are days
-- owner: growth data
-- source: ad_spend
-- severity: error
-- expected: no channel's clicks or views cost thousands, as they do where cost is in millionths
-- needs: staging.ad_spend.cost
with rates as (
    select
        channel,
        count(*) as days_count,
        median(case when clicks_count >= 10 then cost / clicks_count end) as cpc,
        median(case when impressions_count >= 100 then 1000 * cost / impressions_count end) as cpm
    from spend_daily
    where cost > 0
    group by channel
)
select
    channel as subject,
    case
        when cpc >= $micros_cpc then format('a click usually costs {:,.0f}', cpc)
        else format('a thousand views usually cost {:,.0f}', cpm)
    end as observed,
    days_count as rows
from rates
where cpc >= $micros_cpc or cpm >= 10 * $micros_cpc
order by channel
