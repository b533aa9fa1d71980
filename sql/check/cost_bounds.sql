-- purpose: channels whose clicks or views cost what no market asks
-- grain: channel x rate
-- units: company currency per click and per thousand views; rows are days
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: a click and a thousand views cost what is usual in advertising
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
    format('{} {}', channel, case when is_click then 'cost per click' else 'cost per thousand views' end) as subject,
    format('usually {:,.4f}', case when is_click then cpc else cpm end) as observed,
    days_count as rows
from (
    select *, coalesce(cpc not between $cpc_min and $cpc_max, false) as is_click from rates
)
where
    (is_click or cpm not between $cpm_min and $cpm_max)
    and not coalesce(cpc >= $micros_cpc, false)
    and not coalesce(cpm >= 10 * $micros_cpc, false)
order by channel
