-- purpose: weeks in which a channel's clicks, views or conversions cost or bring what they never did
-- grain: week x channel x rate
-- units: company currency per click and per thousand views, conversions per click; rows are days
-- owner: growth data
-- source: ad_spend
-- severity: warning
-- expected: costs per click and per thousand views and conversions per click of the last four weeks are within a factor of three of their usual level
-- needs: staging.ad_spend.cost
with newest as (
    select max(date) as last_day from spend_daily
),
weeks as (
    select
        channel,
        (last_day - date) // 7 as weeks_ago,
        count(*) as days_count,
        sum(cost) filter (where clicks_count > 0) as clicked_cost,
        sum(cost) filter (where impressions_count > 0) as viewed_cost,
        sum(impressions_count) as impressions_count,
        sum(clicks_count) as clicks_count,
        sum(clicks_count) filter (where conversions_count > 0) as converting_clicks_count,
        sum(conversions_count) filter (where clicks_count > 0) as conversions_count
    from spend_daily, newest
    where
        cost > 0
        and channel not in (
            select channel
            from spend_prices
            where abs(change_log) >= ln(case when is_blind then $unit_factor_blind else $unit_factor end)
        )
    group by all
),
rates as (
    select
        channel,
        weeks_ago,
        days_count,
        conversions_count,
        converting_clicks_count,
        case when clicks_count >= $anomaly_clicks then clicked_cost / clicks_count end as cpc,
        case when impressions_count >= 10 * $anomaly_clicks then 1000 * viewed_cost / impressions_count end as cpm,
        case -- in a week that winds a flight down, conversions belong to the clicks of earlier weeks
            when converting_clicks_count >= greatest($anomaly_clicks, 0.5 * median(clicks_count) over (partition by channel))
                then conversions_count / converting_clicks_count
        end as conversion_rate
    from weeks
),
long as (
    unpivot rates on cpc, cpm, conversion_rate into name rate value level
),
judged as (
    select
        *,
        median(ln(level)) filter (where weeks_ago >= 4) over by_rate as usual_log,
        count(*) filter (where weeks_ago >= 4) over by_rate as weeks_before_count
    from long
    where level > 0
    window by_rate as (partition by channel, rate)
),
spread as (
    select
        *,
        1.4826 * median(abs(ln(level) - usual_log)) filter (where weeks_ago >= 4) over (partition by channel, rate) as spread_log
    from judged
)
select
    format(
        '{} {}',
        channel,
        case rate when 'cpc' then 'cost per click' when 'cpm' then 'cost per thousand views' else 'conversions per click' end
    ) as subject,
    format(
        '{:.3g} {}, usually {:.3g}',
        level,
        case weeks_ago when 0 then 'in the last seven days' else weeks_ago || ' weeks before that' end,
        exp(usual_log)
    ) as observed,
    days_count as rows
from spread
where
    weeks_ago < 4
    and weeks_before_count >= 8
    and abs(ln(level) - usual_log) > greatest($anomaly_spreads * spread_log, ln($anomaly_factor))
    and ( -- a count's square root spreads by a half, whatever the count
        rate <> 'conversion_rate'
        or 2 * abs(sqrt(conversions_count) - sqrt(exp(usual_log) * converting_clicks_count)) > $anomaly_spreads
    )
order by channel, weeks_ago, rate
